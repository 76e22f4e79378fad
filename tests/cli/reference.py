"""Writes docs/cli.md from the help texts: `python -m tests.cli.reference > docs/cli.md`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pvc.cli.exit_codes import EXIT_STATUS
from pvc.cli.main import SECTIONS, group

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 100
HEAD = """\
# The command line

Written by `python -m tests.cli.reference > docs/cli.md` from the help texts; a test compares.

- Results go to stdout; notes, warnings, progress and errors go to stderr.
- `--json` prints the result as one JSON document with `"version": 1`. An error is one JSON document
  on stderr: `{"version": 1, "error": {"code", "name", "message", "hint"}}`, with `conflicts` for
  merge conflicts. Later versions may add fields; they never rename any.
- `--quiet` leaves out notes, warnings and progress. Pipes get no colours and no progress bar, and
  lines are not cut; long commands write a line to stderr every ten seconds.
- `NO_COLOR` turns colours off, `FORCE_COLOR` turns them on. `PVC_DEBUG=1` adds a traceback to the
  report of a bug in pvc.
- Any command can be interrupted (Ctrl-C) or killed: either nothing was changed, or the next command
  finishes or undoes the change.

`REV` is any revision that git understands (`main`, `v1`, `HEAD~2`), or `base`. For weights it may
also be a vector, a vector at a revision (`NAME@REV`), or a sum of these, such as
`base + listening - 0.5*(suggesting + quiet@HEAD~3)`. In a sum a dash is a minus, except within the
REV of `NAME@REV`. `ENGINE` is the name of a running engine ([live.md](live.md)).

## Completion

Commands, options, and names of vectors, branches and tags are completed by the shell after

    eval "$(_PVC_COMPLETE=bash_source pvc)"            # in ~/.bashrc
    eval "$(_PVC_COMPLETE=zsh_source pvc)"             # in ~/.zshrc
    _PVC_COMPLETE=fish_source pvc | source             # in ~/.config/fish/config.fish
"""


def reference() -> str:
    """The page."""
    return "\n".join([HEAD, *_sections(), *_exit_status(), ""])


def _sections() -> Iterator[str]:
    root = click.Context(group, info_name="pvc", terminal_width=WIDTH)
    yield f"## pvc\n\n{_options(group, root)}\n"
    for section, names in SECTIONS.items():
        yield f"## {section}\n"
        for name in names:
            command = group.get_command(root, name)
            assert command is not None
            context = click.Context(command, info_name=name, parent=root, terminal_width=WIDTH)
            yield f"### pvc {name}\n\n{_indented(command.get_help(context))}\n"
            if isinstance(command, click.Group):
                yield from _within(command, context)


def _within(group: click.Group, parent: click.Context) -> Iterator[str]:
    """The commands of a group within."""
    for name, command in group.commands.items():
        context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH)
        yield f"### {context.command_path}\n\n{_indented(command.get_help(context))}\n"


def _options(command: click.Command, context: click.Context) -> str:
    """What the group itself takes."""
    formatter = context.make_formatter()
    command.format_usage(context, formatter)
    click.Command.format_options(command, context, formatter)
    return _indented(formatter.getvalue().rstrip("\n"))


def _indented(text: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in text.splitlines())


def _exit_status() -> Iterator[str]:
    yield "## Exit status\n"
    yield "| code | meaning |\n|---|---|"
    for code, meaning in EXIT_STATUS:
        yield f"| {code} | {meaning} |"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
