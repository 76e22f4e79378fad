"""Overflows on the command line: the option that accepts them, their fields, and the warning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pvc.cli.output import Output
    from pvc.repo.build.overflow import Overflow

nonfinite_option = click.option(
    "--allow-nonfinite", is_flag=True, help="Accept Inf and NaN where a sum overflows."
)


def overflow_fields(overflows: tuple[Overflow, ...]) -> list[dict[str, Any]]:
    """The fields of what overflowed; a largest value that is Inf is null."""
    return [
        {
            "tensor": one.name,
            "kind": one.kind,
            "count": one.count,
            "largest": None if one.largest == float("inf") else one.largest,
            "limit": one.limit,
        }
        for one in overflows
    ]


def warn_of_overflows(output: Output, overflows: tuple[Overflow, ...]) -> None:
    """Say which tensors hold Inf or NaN."""
    for one in overflows:
        output.warn(f"Inf or NaN in {one}")
