"""The command line: a file per verb says its arguments, calls a room and prints."""
