"""A vector as fields of JSON, and as lines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pvc.cli.output import columns, norm, share, short
from pvc.repo.personality.vector import CapturedVector
from pvc.wording import number, size

if TYPE_CHECKING:
    from pvc.repo.personality.vector import Amount, DerivedVector, Vector


def amount(found: Amount) -> dict[str, Any]:
    """The fields of an amount."""
    return {**asdict(found), "relative_norm": found.relative_norm}


def document(name: str, vector: Vector) -> dict[str, Any]:
    """The fields of a vector."""
    if not isinstance(vector, CapturedVector):
        return _derived(name, vector)
    counted = vector.statistics
    return {
        "name": name,
        "sort": "captured",
        "base": vector.base.hex(),
        "from": vector.from_tree.hex(),
        "to": vector.to_tree.hex(),
        "layout": vector.layout.hex(),
        "tensors": counted.tensors,
        "changed_tensors": counted.changed_tensors,
        "blocks": counted.blocks,
        "changed_blocks": counted.changed_blocks,
        "total_bytes": counted.total_bytes,
        "stored_bytes": counted.stored_bytes,
        **amount(counted.amount),
        "roles": {role: amount(found) for role, found in counted.roles},
        "provenance": dict(vector.provenance),
    }


def _derived(name: str, vector: DerivedVector) -> dict[str, Any]:
    recipe = vector.recipe
    return {
        "name": name,
        "sort": "derived",
        "method": recipe.rule.method.name,
        "terms": [{"vector": term.vector, "scale": term.scale} for term in recipe.terms],
        **dict(recipe.rule.values),
        "counts": dict(vector.counts),
        "provenance": dict(vector.provenance),
    }


def summary(vector: Vector) -> str:
    """One vector in half a line."""
    if not isinstance(vector, CapturedVector):
        return str(vector.recipe)
    counted = vector.statistics
    changed = share(counted.amount.changed_elements, counted.amount.elements)
    return (
        f"{changed} of the elements, norm {norm(counted.amount.relative_norm)}, "
        f"{size(counted.stored_bytes)}"
    )


def lines(name: str, vector: Vector) -> list[str]:
    """A vector in full."""
    if not isinstance(vector, CapturedVector):
        counts = [(key, number(count)) for key, count in vector.counts]
        provenance = [f"  {key:<9} {_indented(value)}" for key, value in vector.provenance]
        return [f"vector {name} = {vector.recipe}", *provenance, *columns(counts, indent="  ")]
    counted = vector.statistics
    of_base = " (base)" if vector.from_tree == vector.base else ""
    rows = [("role", "elements", "changed", "norm")]
    for label, found in (*counted.roles, ("total", counted.amount)):
        changed = share(found.changed_elements, found.elements)
        rows.append((label, number(found.elements), changed, norm(found.relative_norm)))
    return [
        f"vector {name}",
        f"  from      {short(vector.from_tree)}{of_base}",
        f"  to        {short(vector.to_tree)}",
        *(f"  {key:<9} {_indented(value)}" for key, value in vector.provenance),
        f"  stored    {size(counted.stored_bytes)} of {size(counted.total_bytes)}, "
        f"{number(counted.changed_blocks)} of {number(counted.blocks)} blocks",
        "",
        *columns(rows, indent="  "),
    ]


def _indented(text: str) -> str:
    """A text of several lines, as a column of its own."""
    first, *others = text.strip().split("\n")
    return "\n".join([first, *(" " * 12 + line if line else "" for line in others)])
