"""`pvc negate`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "negate",
    epilog="Exit status: 0 success, 1 nothing changed, 2 the scale is not finite, 14 no such "
    "vector, 17 uncommitted edits, 19 the weights cannot be computed.",
)
@click.argument("name", type=VECTOR)
@click.option(
    "--scale", default=0.5, show_default=True, metavar="S", help="Strength of the subtraction."
)
@click.option("-o", "new", metavar="NEW", help="Create a derived vector NEW instead.")
@answers
def command(name: str, scale: float, new: str | None) -> None:
    """Subtract a vector.

    Sets its scale to -S. The default is one half, because subtracting a whole vector often harms
    other skills. A vector that is not part of the personality is added to it.

    \b
    pvc negate suggesting
    pvc negate suggesting --scale 0.3
    pvc negate suggesting -o unsuggesting
    """
    from pvc.repo.commands.scale import Scaling, rescale

    with opened() as repository:
        answer(rescale(repository, Scaling(name, -scale, new)))
