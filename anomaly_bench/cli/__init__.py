"""The command line: a file per verb says its arguments, calls one room and prints what that gives.

ABOUT is the line that --help has on it, EXAMPLE the arguments of a call of it, EXITS its exit codes, where they are not
USUAL_EXITS; `add_arguments(parser)` says what it takes and what the Tab key completes it by; `call(options)` does it,
prints what came of it and returns the exit code. Files are imported to build the parser of all verbs: what is heavy waits
for `call`.
"""
