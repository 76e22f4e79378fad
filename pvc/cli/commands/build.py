"""`pvc build`."""

from __future__ import annotations

import time

import click

from pvc.cli.output import answers, current, short
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.overflow import nonfinite_option, overflow_fields, warn_of_overflows
from pvc.cli.shared.repository import REVISION, opened


@click.command(
    "build",
    epilog="Exit status: 0 success, 12 stored data is damaged, 14 no such revision, 16 the weights "
    "overflow, 19 they cannot be computed.",
)
@click.argument("revision", type=REVISION, default="HEAD", metavar="[REV]")
@nonfinite_option
@threads_option
@answers
def command(revision: str, threads: int | None, *, allow_nonfinite: bool) -> None:
    """Compute and store the weights of a revision.

    Later checkouts of it are faster. A revision has the same weights on every machine, bit for bit.

    \b
    pvc build
    pvc build main
    """
    from pvc.repo.commands.build import build

    output, began = current(), time.monotonic()
    with opened() as repository, crew(output, threads) as workers:
        done = build(repository, revision, workers, allow_nonfinite=allow_nonfinite)
    seconds = time.monotonic() - began
    document = {
        "revision": revision,
        "tree": done.built.tree.hex(),
        "layout": done.built.layout.hex(),
        "computed": done.computed,
        "overflows": overflow_fields(done.overflows),
        "seconds": round(seconds, 3),
    }
    how = f"computed in {seconds:.1f} s" if done.computed else "already known"
    output.answer(document, [f"{revision} is {short(done.built.tree)}, {how}"])
    warn_of_overflows(output, done.overflows)
