"""The group `pvc`: global options, sections of the help, commands loaded when they are needed."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from pathlib import Path

import click

import pvc
from pvc.cli.exit_codes import EXIT_STATUS

SECTIONS = {
    "Start": ("init", "demo"),
    "Change": ("commit", "scale", "negate", "merge", "revert", "mv", "rm"),
    "Move": ("checkout", "build", "switch", "branch", "tag"),
    "Inspect": ("status", "log", "show", "diff"),
    "Engines": ("live", "serve"),
    "Maintain": ("forget", "fsck"),
}

LASTING = ("serve", "demo")
"""Commands whose processes live long, with models in memory."""
COLLECT_EVERY = 50_000
"""New objects between two searches for garbage, in all other commands: what they make stays."""


class Sections(click.Group):
    """A group whose commands come in sections, one module each."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All commands, in the order of the sections."""
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the module of a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = import_module(f"pvc.cli.commands.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess for a word that was mistyped."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            from difflib import get_close_matches

            close = get_close_matches(args[0], self.list_commands(ctx), n=1)
            if close:
                text = f"{error.message} Did you mean {close[0]!r}?"
                raise click.UsageError(text, ctx) from None
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        for section, names in SECTIONS.items():
            rows = []
            for name in names:
                command = self.get_command(ctx, name)
                if command is not None:
                    rows.append((name, command.get_short_help_str(100)))
            with formatter.section(section):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the exit status."""
        with formatter.section("Exit status"):
            formatter.write_dl([(str(code), meaning) for code, meaning in EXIT_STATUS])


@click.group(cls=Sections)
@click.option(
    "-C",
    "directory",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path(),
    metavar="DIR",
    help="Work in DIR instead of here.",
)
@click.version_option(pvc.__version__, prog_name="pvc")
@click.pass_context
def group(context: click.Context, directory: Path) -> None:
    """Version control for the behaviour of language models.

    \b
    pvc init --base ./qwen3-8b
    pvc commit listening --from ./out/listening -m "20 examples"
    pvc log
    pvc checkout main --to ./served
    pvc checkout HEAD~1
    """
    context.obj = directory
    if context.invoked_subcommand not in LASTING:
        gc.set_threshold(COLLECT_EVERY)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that spin
    context.call_on_close(gc.freeze)  # the process ends; nothing need be looked through once more
