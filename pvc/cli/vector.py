"""How a vector is written out: as fields of JSON, and as lines."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pvc.cli.output import columns, norm, number, share, short, size

if TYPE_CHECKING:
    from pvc.repo.vector import Amount, CapturedVector


def amount(found: Amount) -> dict[str, Any]:
    """The fields of an amount."""
    return {**asdict(found), "relative_norm": found.relative_norm}


def document(name: str, vector: CapturedVector) -> dict[str, Any]:
    """The fields of a vector."""
    counted = vector.statistics
    return {
        "name": name,
        "base": vector.base.hex(),
        "from": vector.origin.hex(),
        "to": vector.result.hex(),
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


def summary(vector: CapturedVector) -> str:
    """One vector in half a line."""
    counted = vector.statistics
    changed = share(counted.amount.changed_elements, counted.amount.elements)
    return (
        f"{changed} of the elements, norm {norm(counted.amount.relative_norm)}, "
        f"{size(counted.stored_bytes)}"
    )


def lines(name: str, vector: CapturedVector) -> list[str]:
    """A vector in full."""
    counted = vector.statistics
    rows = [("role", "elements", "changed", "norm")]
    for label, found in (*counted.roles, ("total", counted.amount)):
        changed = share(found.changed_elements, found.elements)
        rows.append((label, number(found.elements), changed, norm(found.relative_norm)))
    return [
        f"vector {name}",
        f"  from      {short(vector.origin)}{' (base)' if vector.origin == vector.base else ''}",
        f"  to        {short(vector.result)}",
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
