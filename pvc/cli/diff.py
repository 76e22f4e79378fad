"""`pvc diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, columns, current, norm, number, share
from pvc.cli.progress import crew, threads_option
from pvc.cli.repository import REVISION, opened

if TYPE_CHECKING:
    from pvc.repo.diff import Difference, Row

HEADINGS = ("tensors", "elements", "changed", "blocks", "norm")


@click.command(
    "diff",
    epilog="Exit status: 0 done, 2 the two differ in kind, 14 there is no such vector or revision.",
)
@click.argument("before", type=REVISION, required=False, metavar="[A]")
@click.argument("after", type=REVISION, required=False, metavar="[B]")
@click.option(
    "--by", "group", type=click.Choice(["role", "layer", "tensor"]), default="role",
    show_default=True, help="What a line stands for.",
)  # fmt: skip
@threads_option
@answers
def command(before: str | None, after: str | None, group: str, threads: int | None) -> None:
    """Show what changed between two sets of weights.

    One revision is compared with HEAD; none: the base with HEAD. A vector is shown from where it
    starts to where it leads. The norm is that of the difference, over that of what it started from.

    \b
    pvc diff                  the base with HEAD
    pvc diff listening        one vector
    pvc diff v1 HEAD --by layer
    """
    from pvc.repo.diff import diff

    output = current()
    with opened() as repository, crew(output, threads) as workers:
        found = diff(repository, before, after, group, workers)
    output.answer(_document(found), _lines(found))


def _document(found: Difference) -> dict[str, Any]:
    return {
        "before": found.before,
        "after": found.after,
        "by": found.group,
        "rows": [_row_document(row) for row in found.rows],
        "total": _row_document(found.total),
    }


def _row_document(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "tensors": row.tensors,
        "changed_tensors": row.changed_tensors,
        "elements": row.elements,
        "changed_elements": row.changed_elements,
        "blocks": row.blocks,
        "changed_blocks": row.changed_blocks,
        "tau_norm": row.tau_norm,
        "from_norm": row.from_norm,
        "relative_norm": row.relative_norm,
        "sorts": list(row.sorts),
    }


def _lines(found: Difference) -> list[str]:
    cells = [_cells(row) for row in (*found.rows, found.total)]
    return [f"{found.before} -> {found.after}", *columns([(found.group, *HEADINGS, ""), *cells])]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.label,
        f"{row.changed_tensors}/{row.tensors}",
        number(row.elements),
        share(row.changed_elements, row.elements),
        f"{number(row.changed_blocks)}/{number(row.blocks)}",
        norm(row.relative_norm),
        ", ".join(row.sorts),
    )
