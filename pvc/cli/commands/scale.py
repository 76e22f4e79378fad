"""`pvc scale`."""

from __future__ import annotations

import click

from pvc.cli.numbers import AnyNumber
from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "scale",
    context_settings={"ignore_unknown_options": True},  # so that -0.5 is a number
    epilog="Exit status: 0 success, 1 nothing changed, 2 the scale is not finite, 14 no such "
    "vector, 17 uncommitted edits, 19 the weights cannot be computed.",
)
@click.argument("name", type=VECTOR)
@click.argument("factor", type=AnyNumber())
@click.option("-o", "new", metavar="NEW", help="Create a derived vector NEW instead.")
@answers
def command(name: str, factor: float, new: str | None) -> None:
    """Set the scale of a vector.

    A vector that is not part of the personality is added to it.

    \b
    pvc scale listening 0.7
    pvc scale listening 0
    pvc scale listening 2 -o loud
    """
    from pvc.repo.commands.scale import Scaling, rescale

    with opened() as repository:
        answer(rescale(repository, Scaling(name, factor, new)))
