"""What a command tells of a checkpoint that it read, besides its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.cli.output import Output
    from pvc.weights.folder import LeftOut


def tell(output: Output, left_out: Sequence[LeftOut], notes: Sequence[str]) -> None:
    """Name what is not kept, even if asked to be quiet where somebody may miss it."""
    for one in left_out:
        line = f"left out: {one.path} ({one.reason})"
        if one.matters:
            output.loss(line)
        else:
            output.note(line)
    for note in notes:
        output.loss(f"note: {note}")
