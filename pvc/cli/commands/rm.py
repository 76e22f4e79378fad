"""`pvc rm`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "rm",
    epilog="Exit status: 0 done, 1 something depends on it, 14 there is no such vector, 17 edits "
    "are in the way.",
)
@click.argument("name", type=VECTOR)
@answers
def command(name: str) -> None:
    """Remove a vector; history and store keep it.

    Refused while the personality has it as a term, or another vector is made of it.

    \b
    pvc rm suggesting
    """
    from pvc.repo.commands.remove import remove

    with opened() as repository:
        answer(remove(repository, name))
