"""The command line: a file per verb says its arguments, calls one room and prints what that gives."""
