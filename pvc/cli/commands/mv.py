"""`pvc mv`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "mv",
    epilog="Exit status: 0 success, 14 no such vector, or the new name is taken, 17 uncommitted "
    "edits.",
)
@click.argument("old", type=VECTOR)
@click.argument("new")
@answers
def command(old: str, new: str) -> None:
    """Rename a vector, its terms and its behaviour file.

    \b
    pvc mv listening patience
    """
    from pvc.repo.commands.rename import rename

    with opened() as repository:
        answer(rename(repository, old, new))
