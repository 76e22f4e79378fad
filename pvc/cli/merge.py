"""`pvc merge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.edited import document as edited_document
from pvc.cli.edited import lines as edited_lines
from pvc.cli.output import answers, columns, current, share
from pvc.cli.progress import crew, threads_option
from pvc.cli.repository import VECTOR, opened

if TYPE_CHECKING:
    from pvc.repo.compose import Combined


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
@threads_option
@answers
def command(
    names: tuple[str, ...],
    method: str,
    density: float | None,
    factor: float,
    new: str | None,
    threads: int | None,
) -> None:
    """Combine vectors to one, in the place of their terms; without names, all terms.

    \b
    pvc merge --ties listening brevity -o calm
    pvc merge --sum
    """
    from pvc.repo.compose import Combination, combine

    if density is not None and method != "ties":
        raise click.UsageError("--density belongs to --ties.")
    part = 1.0 if method != "ties" else 0.2 if density is None else density
    output = current()
    with opened() as repository, crew(output, threads) as workers:
        wish = Combination(names, method, part, factor, new)
        done = combine(repository, wish, workers)
    _answer(done)


def _answer(done: Combined) -> None:
    edited, trim = done.edited, done.trim
    document: dict[str, Any] = {**edited_document(edited), "vector": vector_document(done)}
    lines = edited_lines(edited)
    if trim is not None:
        names = [term.vector for term in done.vector.recipe.terms]
        document["conflicts"] = [list(row) for row in trim.conflicts]
        rows = [("vector", "kept", "outvoted", *(f"against {name}" for name in names))]
        for name, kept, outvoted, row in zip(
            names, trim.kept, trim.outvoted, trim.conflicts, strict=True
        ):
            against = (share(count, kept) for count in row)
            rows.append((name, share(kept, trim.elements), share(outvoted, kept), *against))
        lines += columns(rows, indent="  ")
    current().answer(document, lines)


def vector_document(done: Combined) -> dict[str, Any]:
    """The fields of the new vector."""
    from pvc.cli.vector import document

    return document(done.name, done.vector)
