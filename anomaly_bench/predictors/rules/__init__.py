"""The rules from evidence to a map, a file per family."""
