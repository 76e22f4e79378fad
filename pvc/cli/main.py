"""The group `pvc`: its options, the sections of its help, and its commands, loaded on demand."""

from __future__ import annotations

import gc
import os
from importlib import import_module
from pathlib import Path

import click

import pvc
from pvc.cli.exit_codes import EXIT_STATUS
from pvc.cli.numbers import AnyNumber
from pvc.cli.shared.repository import WAIT

SECTIONS = {
    "Start": ("init", "demo"),
    "Change": ("commit", "scale", "negate", "merge", "revert", "mv", "rm"),
    "Move": ("checkout", "build", "switch", "branch", "tag"),
    "Inspect": ("status", "log", "show", "diff"),
    "Engines": ("live", "serve"),
    "Maintain": ("forget", "fsck"),
}

LASTING = ("serve", "demo")
"""Commands that run for long, with models in memory."""
COLLECT_EVERY = 50_000
"""New objects between two garbage collections of all other commands, which free little."""


class Sections(click.Group):
    """A group with one module for each command, and sections in its help."""

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
        """Find a command as click does, and suggest one for a mistyped word."""
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
    help="Run as if pvc was started in DIR.",
)
@click.option(
    "--wait",
    type=AnyNumber(least=0),
    metavar="SECONDS",
    help="How long to wait for others in the repository, or at the engine.  [default: 5]",
)
@click.version_option(pvc.__version__, prog_name="pvc")
@click.pass_context
def group(context: click.Context, directory: Path, wait: float | None) -> None:
    """Version control for the behaviour of language models.

    \b
    pvc init --base ./qwen3-8b                             create a repository
    pvc commit listening --from ./out -m "20 examples"     store a training result
    pvc log                                                show the history
    pvc checkout main --to ./served                        write weights to a directory
    pvc checkout HEAD~1                                    roll them back
    """
    context.obj = directory
    context.meta[WAIT] = wait
    if context.invoked_subcommand not in LASTING:
        gc.set_threshold(COLLECT_EVERY)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that spin
    context.call_on_close(gc.freeze)  # the process ends: a last collection would free nothing
