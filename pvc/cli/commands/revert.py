"""`pvc revert`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import REVISION, opened


@click.command(
    "revert",
    epilog="Exit status: 0 done, 1 it cannot be taken back, 14 there is no such revision, 17 "
    "edits are in the way.",
)
@click.argument("revision", type=REVISION, metavar="REV")
@answers
def command(revision: str) -> None:
    """Take back what a commit did to terms and vectors, by a new commit.

    Weights are not touched; `pvc checkout` writes them.

    \b
    pvc revert HEAD
    pvc revert HEAD~2
    """
    from pvc.repo.commands.revert import revert

    with opened() as repository:
        answer(revert(repository, revision))
