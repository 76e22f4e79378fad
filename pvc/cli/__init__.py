"""The command line: one file per command.

    main       the group: global options, sections of the help, lazy loading of commands
    boundary   what every way of ending becomes: messages, exit codes
    errors     exit code and hint of every error
    output     text and JSON, the terminal
    progress   progress of long work

Only this room reads arguments, environment and terminal.
"""

from __future__ import annotations


def main() -> None:
    """Run `pvc` with the arguments of this process."""
    try:
        from pvc.cli.boundary import run
    except KeyboardInterrupt:  # nothing has begun yet
        raise SystemExit(130) from None
    run()


__all__ = ["main"]
