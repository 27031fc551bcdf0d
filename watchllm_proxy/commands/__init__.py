"""The commands that only look: `runs`, `show`, `tail` ask a running server, `doctor` examines this machine.

`cli` adds them to its own. Data goes to stdout and talk to stderr; the exit status is 0 for done, 1 for an
error, 2 for wrong usage, 3 for not found.
"""
