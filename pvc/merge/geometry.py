"""Two task vectors compared: norms, cosine, overlap, conflicts of signs.

The sums of a block are taken in float64 in a fixed order.  Adding blocks in a fixed order gives
the same numbers for any number of threads.

Limits: Inf and NaN count as changed, and are left out of the sums.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from pvc.codec.buffers import BUFFERS
from pvc.codec.kernels import SUMS
from pvc.jit.decorator import jit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats


@dataclass(frozen=True, slots=True)
class Pair:
    """Two vectors, a and b, over the same elements.

    Attributes:
        elements: how many there are.
        changed_a: elements that are not 0 in a.
        changed_b: elements that are not 0 in b.
        both: elements that are not 0 in either of them.
        conflicts: those of `both` that have opposite signs.
        aa: sum of a * a.
        bb: sum of b * b.
        ab: sum of a * b.
    """

    elements: int
    changed_a: int = 0
    changed_b: int = 0
    both: int = 0
    conflicts: int = 0
    aa: float = 0.0
    bb: float = 0.0
    ab: float = 0.0

    def __add__(self, other: Pair) -> Pair:
        return Pair(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Pair)))

    @property
    def norm_a(self) -> float:
        """Euclidean norm of a."""
        return sqrt(self.aa)

    @property
    def norm_b(self) -> float:
        """Euclidean norm of b."""
        return sqrt(self.bb)

    @property
    def cosine(self) -> float:
        """Cosine of the angle between a and b, from -1 to 1; 0 where one of them is 0."""
        if not (self.aa and self.bb):
            return 0.0
        return min(1.0, max(-1.0, self.ab / self.norm_a / self.norm_b))

    @property
    def conflict_share(self) -> float:
        """Share of opposite signs among the elements that both change, from 0 to 1."""
        return self.conflicts / self.both if self.both else 0.0

    @property
    def overlap(self) -> float:
        """Share of the elements that both change among those that any changes, from 0 to 1."""
        either = self.changed_a + self.changed_b - self.both
        return self.both / either if either else 0.0


def compare(a: Floats | None, b: Floats | None, elements: int) -> Pair:
    """Measure one block of two vectors.

    Args:
        a: the elements of a; None if all of them are 0.
        b: the elements of b; None if all of them are 0.
        elements: how many elements the block has.

    Raises:
        ValueError: `a` or `b` has another number of elements.
    """
    for tau in (a, b):
        if tau is not None and tau.size != elements:
            raise ValueError(f"{tau.size} elements are not the {elements} of the block")
    if a is None and b is None:
        return Pair(elements)
    x = np.zeros_like(b) if a is None else a
    y = np.zeros_like(a) if b is None else b
    counts = np.zeros(4, np.int64)
    sums = np.zeros(3)
    _compare(x, y, counts, sums, BUFFERS.sums)
    return Pair(elements, *counts.tolist(), *sums.tolist())


@jit
def _compare(
    a: Floats,
    b: Floats,
    counts: NDArray[np.int64],
    sums: NDArray[np.float64],
    partial_sums: NDArray[np.float64],
) -> None:
    """See `compare`; `partial_sums` is room for three rows of SUMS."""
    partial_sums[:] = 0
    changed_a = changed_b = both = conflicts = 0
    aa, bb, ab = partial_sums[0], partial_sums[1], partial_sums[2]
    for start in range(0, a.size, SUMS):
        x = a[start : start + SUMS]
        y = b[start : start + SUMS]
        for i in range(x.size):
            changed_a += x[i] != 0
            changed_b += y[i] != 0
            both += x[i] != 0 and y[i] != 0
            conflicts += (x[i] > 0 and y[i] < 0) or (x[i] < 0 and y[i] > 0)
        for i in range(x.size):
            p = np.float64(x[i] if np.isfinite(x[i]) else 0)
            q = np.float64(y[i] if np.isfinite(y[i]) else 0)
            aa[i] += p * p
            bb[i] += q * q
            ab[i] += p * q
    counts[0], counts[1], counts[2], counts[3] = changed_a, changed_b, both, conflicts
    for i in range(SUMS):
        sums[0] += aa[i]
        sums[1] += bb[i]
        sums[2] += ab[i]
