"""`pvc negate`."""

from __future__ import annotations

import click

from pvc.cli.output import answers
from pvc.cli.shared.edited import answer
from pvc.cli.shared.repository import VECTOR, opened


@click.command(
    "negate",
    epilog="Exit status: 0 done, 1 nothing changed, 2 the scale is not finite, 14 there is no such "
    "vector, 17 edits are in the way, 19 it cannot be computed.",
)
@click.argument("name", type=VECTOR)
@click.option(
    "--scale", default=0.5, show_default=True, metavar="S", help="How strongly to subtract it."
)
@click.option("-o", "new", metavar="NEW", help="Make a derived vector instead.")
@answers
def command(name: str, scale: float, new: str | None) -> None:
    """Subtract a vector: its term gets the scale -S, and is added if it is not there.

    Half of a vector is subtracted by default, because a whole one often breaks other skills.

    \b
    pvc negate suggesting
    pvc negate suggesting --scale 0.3
    pvc negate suggesting -o unsuggesting
    """
    from pvc.repo.commands.scale import Scaling, rescale

    with opened() as repository:
        answer(rescale(repository, Scaling(name, -scale, new)))
