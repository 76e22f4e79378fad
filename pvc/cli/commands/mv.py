"""`pvc mv`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "mv",
    epilog="Exit status: 0 done, 14 there is no such vector or the new name is taken, 17 edits "
    "are in the way.",
)
@click.argument("old", type=VECTOR)
@click.argument("new")
@answers
def command(old: str, new: str) -> None:
    """Rename a vector, with its terms and its behaviour.

    \b
    pvc mv listening patience
    """
    from pvc.repo.commands.rename import rename

    with opened() as repository:
        answer(rename(repository, old, new))
