"""The command line: arguments are parsed, one function is called, its result is printed.

    commands/    one file per command: options and help, one call into pvc.repo, text and JSON
    shared/      options and output that several commands have
    main         the group `pvc`: its options, its help, loading of commands
    boundary     how a process ends: message, hint and exit code
    errors       exit code, hint and JSON fields of an error, from exit_codes, hints, git_refusals
    output       text, JSON and colours
    numbers      numbers among the arguments
    progress     the progress bar

1. `main` runs `boundary.run`, which lets click find the command and load its module.
2. The command opens the repository (`shared.repository.opened`), calls its use case and writes the
   result with `output.current().answer`.
3. Whatever is raised reaches `boundary.end`: one sentence on stderr, perhaps a hint, an exit code.

The script `pvc` and `python -m pvc` call it.  Only this room reads arguments, environment and
terminal.  Its tables name errors and do not import them: `pvc log` loads no numpy and no GitPython.

Tests: tests/cli/.
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
