"""`pvc revert`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import REVISION, opened


@click.command(
    "revert",
    epilog="Exit status: 0 success, 1 the commit cannot be reverted, 14 no such revision, 17 "
    "uncommitted edits.",
)
@click.argument("revision", type=REVISION, metavar="REV")
@answers
def command(revision: str) -> None:
    """Undo the changes of a commit with a new commit.

    The changes are those to terms and vectors. No weights are written; run `pvc checkout` for that.

    \b
    pvc revert HEAD
    pvc revert HEAD~2
    """
    from pvc.repo.commands.revert import revert

    with opened() as repository:
        answer(revert(repository, revision))
