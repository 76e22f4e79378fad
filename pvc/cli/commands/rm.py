"""`pvc rm`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "rm",
    epilog="Exit status: 0 success, 1 the vector is in use, 14 no such vector, 17 uncommitted "
    "edits.",
)
@click.argument("name", type=VECTOR)
@answers
def command(name: str) -> None:
    """Remove a vector; earlier commits keep it.

    Refused while the personality or another vector uses it.

    \b
    pvc rm suggesting
    """
    from pvc.repo.commands.remove import remove

    with opened() as repository:
        answer(remove(repository, name))
