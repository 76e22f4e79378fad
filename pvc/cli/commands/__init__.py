"""The commands, one file each, named as on the command line.

Each file has one `command`, with its options, its help and the exit codes that it explains.  It
parses, calls one function of pvc.repo.commands or pvc.live.commands, and prints the result, a
frozen dataclass, as lines of text or as the fields of a JSON document.  Heavy modules are imported
within functions, so that `pvc --help` loads none of them.

`pvc.cli.main` loads a command when it is asked for; a new one needs its line in `SECTIONS` there.

Tests: tests/cli/.
"""
