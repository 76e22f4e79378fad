"""Overflows: computed elements that are Inf or NaN although all that they are made of is finite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.personality.formula import links
from pvc.wording import counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats
    from pvc.repo.build.taus import BlockPlace, Taus
    from pvc.repo.personality.formula import FormulaPart
    from pvc_store.tree import Tensor

SHOWN = 3


@dataclass(frozen=True, slots=True)
class Overflow:
    """What overflowed in one tensor.

    Attributes:
        name: the tensor.
        kind: its numeric kind.
        count: elements that are Inf or NaN, and whose inputs are finite.
        largest: the largest magnitude among them before it was rounded; may be Inf.
        limit: the largest number of the kind.
    """

    name: str
    kind: str
    count: int
    largest: float
    limit: float

    def __str__(self) -> str:
        return (
            f"{self.name} ({counted(self.count, 'element')}, up to {self.largest:.4g}; {self.kind} "
            f"ends at {self.limit:.4g})"
        )


class NotFiniteError(PvcError):
    """Computed weights would hold Inf or NaN where all that they are made of is finite.

    Attributes:
        overflows: what overflowed, by tensor.
    """

    def __init__(self, overflows: tuple[Overflow, ...]) -> None:
        self.overflows = overflows
        listed = "; ".join(map(str, overflows[:SHOWN]))
        more = f"; and {len(overflows) - SHOWN} tensors more" if len(overflows) > SHOWN else ""
        super().__init__(f"The result is not finite: {listed}{more}.")


def overflowed(
    taus: Taus, parts: tuple[FormulaPart, ...], start: Tensor, place: BlockPlace, out: Floats
) -> NDArray[np.bool_]:
    """Which elements of a block are Inf or NaN, and made of finite numbers alone.

    Args:
        taus: gives the numbers of stored trees.
        parts: what is added.
        start: what it is added to.
        place: the block.
        out: its computed elements.
    """
    import numpy as np  # so that reading records, as `pvc status` does, does not load it

    found = ~np.isfinite(out)
    found &= np.isfinite(taus.numbers(start, place, "finite"))
    for part in parts:
        for link in links(part.operand):
            for tree in (link.from_tree, link.to_tree):
                stored = taus.tree(tree)[place.tensor.name]
                found &= np.isfinite(taus.numbers(stored, place, "finite"))
    return found
