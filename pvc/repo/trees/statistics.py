"""The result of a capture: a tree, a layout, and the change of each tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pvc.codec import SideCounts
from pvc.repo.personality.vector import Amount, Statistics
from pvc.repo.trees.changes import total
from pvc.weights.tensor_names import role

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.codec import ChangeSums
    from pvc_store.layout import Layout
    from pvc_store.tree import Tensor, Tree


ROUNDED_SHARE = 0.5
"""Below this share of changed elements, 16-bit rounding has probably swallowed the update."""


@dataclass(frozen=True, slots=True)
class TensorCapture:
    """One tensor, captured.

    Attributes:
        tensor: what the tree says of it.
        change: sums over its elements, against the origin.
        changed_blocks: blocks that differ from the origin's.
        sides: which elements are the base's, and which those of the options' other tree.
    """

    tensor: Tensor
    change: ChangeSums
    changed_blocks: int
    sides: SideCounts = field(default_factory=SideCounts)


@dataclass(frozen=True, slots=True)
class Capture:
    """A checkpoint, captured.

    Attributes:
        tree: its weights.
        layout: its files.
        tensors: one by one, sorted by name.
    """

    tree: Tree
    layout: Layout
    tensors: tuple[TensorCapture, ...]

    def statistics(self, stored_bytes: int) -> Statistics:
        """The counts that a vector keeps."""
        by_role: dict[str, list[ChangeSums]] = {}
        for one in self.tensors:
            by_role.setdefault(role(one.tensor.name), []).append(one.change)
        return Statistics(
            amount=amount(one.change for one in self.tensors),
            roles=tuple((name, amount(changes)) for name, changes in sorted(by_role.items())),
            tensors=len(self.tensors),
            changed_tensors=sum(one.changed_blocks > 0 for one in self.tensors),
            blocks=sum(one.tensor.block_count for one in self.tensors),
            changed_blocks=sum(one.changed_blocks for one in self.tensors),
            total_bytes=self.tree.nbytes,
            stored_bytes=stored_bytes,
        )

    def rounded_share(self) -> float | None:
        """Share of changed elements in the 16-bit tensors that changed, if suspiciously low."""
        changed = [
            one.change
            for one in self.tensors
            if one.changed_blocks and one.tensor.kind.name in {"BF16", "F16"}
        ]
        elements = sum(change.elements for change in changed)
        share = sum(change.changed for change in changed) / elements if elements else 1.0
        return share if share < ROUNDED_SHARE else None

    def nonfinite(self) -> tuple[str, ...]:
        """Tensors with NaN or Inf where the origin has a number."""
        return tuple(one.tensor.name for one in self.tensors if one.change.nonfinite)


def amount(changes: Iterable[ChangeSums]) -> Amount:
    """The sum of some changes; norms with nine digits, so that they are the same everywhere."""
    sums = total(changes)
    return Amount(
        elements=sums.elements,
        changed_elements=sums.changed,
        tau_norm=f"{math.sqrt(sums.tau_square):.9g}",
        from_norm=f"{math.sqrt(sums.base_square):.9g}",
    )
