"""`pvc merge`."""

from __future__ import annotations

import click

from pvc.cli.edited import answer
from pvc.cli.output import answers
from pvc.cli.repository import VECTOR, opened


@click.command(
    "merge",
    epilog="Exit status: 0 done, 1 nothing changed, 14 there is no such vector, or the name is "
    "taken, 17 edits are in the way.",
)
@click.argument("names", type=VECTOR, nargs=-1, metavar="[NAME]...")
@click.option("--sum", "method", flag_value="sum", default="sum", help="Add them (the default).")
@click.option("--ties", "method", flag_value="ties", help="Trim, elect signs, average.")
@click.option(
    "--density",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="D",
    help="Share of each vector that --ties keeps; 0.2 if not given.",
)
@click.option(
    "--lambda", "factor", type=float, default=1.0, metavar="L", help="Factor of the result."
)
@click.option("-o", "new", metavar="NEW", help="Name of the vector, which is then not applied.")
@answers
def command(
    names: tuple[str, ...], method: str, density: float | None, factor: float, new: str | None
) -> None:
    """Combine vectors to one, in the place of their terms; without names, all terms.

    \b
    pvc merge --ties listening brevity -o calm
    pvc merge --sum
    """
    from pvc.repo.compose import Combination, combine

    if density is not None and method != "ties":
        raise click.UsageError("--density belongs to --ties.")
    share = 1.0 if method != "ties" else 0.2 if density is None else density
    with opened() as repository:
        answer(combine(repository, Combination(names, method, share, factor, new)))
