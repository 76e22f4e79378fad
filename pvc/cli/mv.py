"""`pvc mv`."""

from __future__ import annotations

import click

from pvc.cli.edited import answer
from pvc.cli.output import answers
from pvc.cli.repository import REVISION, opened


@click.command("mv")
@click.argument("old", type=REVISION)
@click.argument("new")
@answers
def command(old: str, new: str) -> None:
    """Rename a vector, with its terms and its behaviour."""
    from pvc.repo.edits import rename

    with opened() as repository:
        answer(rename(repository, old, new))
