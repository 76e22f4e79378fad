"""`pvc diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, columns, current, norm, share
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.repository import REVISION, opened
from pvc.wording import number

if TYPE_CHECKING:
    from pvc.repo.commands.diff_trees import Row, TreeDifference
    from pvc.repo.commands.diff_vectors import Relation, Relations

HEADINGS = ("tensors", "elements", "changed", "blocks", "norm")


@click.command(
    "diff",
    epilog="Exit status: 0 success, 2 weights and a vector cannot be compared, 14 no such vector "
    "or revision.",
)
@click.argument("before", type=REVISION, required=False, metavar="[A]")
@click.argument("after", type=REVISION, required=False, metavar="[B]")
@click.option(
    "--by", "group", type=click.Choice(["role", "layer", "tensor"]), default="role",
    show_default=True, help="One line for each role, layer or tensor.",
)  # fmt: skip
@threads_option
@answers
def command(before: str | None, after: str | None, group: str, threads: int | None) -> None:
    """Compare two sets of weights, or two vectors.

    For weights: the elements, tensors and blocks that differ, and the norm of the difference,
    relative to the norm of A. Without B, A is compared with HEAD; without both, the base is. A
    vector alone is shown as the change that it makes.

    For two vectors: their norms, their cosine, the share of elements that both change (of those
    that either changes), the share of these that they change in opposite directions, and the
    share of elements that each changes once it is added to the base and rounded.

    \b
    pvc diff                         base and HEAD
    pvc diff listening               one vector
    pvc diff v1 HEAD --by layer
    pvc diff listening suggesting    two vectors
    """
    from pvc.repo.commands.diff_trees import diff
    from pvc.repo.commands.diff_vectors import relate

    output = current()
    with opened() as repository, crew(output, threads) as workers:
        if before is not None and after is not None:
            related = relate(repository, before, after, group, workers)
            if related is not None:
                output.answer(_relations_document(related), _relations_lines(related))
                return
        found = diff(repository, before, after, group, workers)
    output.answer(_document(found), _lines(found))


def _document(found: TreeDifference) -> dict[str, Any]:
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


def _lines(found: TreeDifference) -> list[str]:
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


def _relations_document(found: Relations) -> dict[str, Any]:
    return {
        "a": found.a,
        "b": found.b,
        "by": found.group,
        "rows": [_relation_document(row) for row in found.rows],
        "total": _relation_document(found.total),
    }


def _relation_document(row: Relation) -> dict[str, Any]:
    pair = row.pair
    return {
        "label": row.label,
        "elements": pair.elements,
        "norm_a": pair.norm_a,
        "norm_b": pair.norm_b,
        "cosine": pair.cosine,
        "changed_a": pair.changed_a,
        "changed_b": pair.changed_b,
        "changed_both": pair.both,
        "overlap": pair.overlap,
        "conflicts": pair.conflicts,
        "conflict_share": pair.conflict_share,
        "effective_a": row.effective_a,
        "effective_b": row.effective_b,
    }


def _relations_lines(found: Relations) -> list[str]:
    headings = (
        found.group, "elements", "norm a", "norm b", "cosine", "changed a", "changed b", "overlap",
        "conflict", "effective a", "effective b",
    )  # fmt: skip
    cells = [_relation_cells(row) for row in (*found.rows, found.total)]
    return [f"a = {found.a}, b = {found.b}", *columns([headings, *cells])]


def _relation_cells(row: Relation) -> tuple[str, ...]:
    pair = row.pair
    return (
        row.label,
        number(pair.elements),
        norm(pair.norm_a),
        norm(pair.norm_b),
        f"{pair.cosine:.3f}",
        share(pair.changed_a, pair.elements),
        share(pair.changed_b, pair.elements),
        f"{100 * pair.overlap:.3g} %",
        f"{100 * pair.conflict_share:.3g} %",
        share(row.effective_a, pair.elements),
        share(row.effective_b, pair.elements),
    )
