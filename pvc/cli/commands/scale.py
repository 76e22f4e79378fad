"""`pvc scale`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "scale",
    context_settings={"ignore_unknown_options": True},  # so that -0.5 is a number
    epilog="Exit status: 0 done, 1 nothing changed, 2 the scale is not finite, 14 there is no such "
    "vector, 17 edits are in the way, 19 it cannot be computed.",
)
@click.argument("name", type=VECTOR)
@click.argument("factor", type=float)
@click.option("-o", "new", metavar="NEW", help="Make a derived vector instead.")
@answers
def command(name: str, factor: float, new: str | None) -> None:
    """Set the scale of a vector's term, which is added if it is not there.

    \b
    pvc scale listening 0.7
    pvc scale listening 0
    pvc scale listening 2 -o loud
    """
    from pvc.repo.commands.scale import Scaling, rescale

    with opened() as repository:
        answer(rescale(repository, Scaling(name, factor, new)))
