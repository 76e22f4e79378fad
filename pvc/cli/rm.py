"""`pvc rm`."""

from __future__ import annotations

import click

from pvc.cli.edited import answer
from pvc.cli.output import answers
from pvc.cli.repository import REVISION, opened


@click.command("rm")
@click.argument("name", type=REVISION)
@answers
def command(name: str) -> None:
    """Remove a vector; history and store keep it.

    Refused while the personality has it as a term.
    """
    from pvc.repo.edits import remove

    with opened() as repository:
        answer(remove(repository, name))
