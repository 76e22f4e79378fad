"""How often the elements of something are covered by strided regions, exactly, in few steps.

The strides that occur are the steps of a mixed-radix number; a region is a box of digits.  Cut at
the boundaries of all boxes, the digits become a small grid of cells, each of which is covered as a
whole.  The work depends on the number of regions, not on that of elements.

    shape (4, 6), columns 0-1 and 2-5:   steps 6, 1   boxes [0,4)x[0,2)  [0,4)x[2,6)   2 cells

Limits: steps must divide one another, as they do in views of dense tensors; and there are at most
CELLS_LIMIT cells.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pvc.live.protocol.region import Region

CELLS_LIMIT = 1 << 22

Box = tuple[tuple[int, int], ...]
"""For each step, innermost first: first digit, first digit behind."""


@dataclass(frozen=True, slots=True)
class Lattice:
    """A strided set of equal items in a row of bytes.

    Attributes:
        offset: first byte.
        dims: (count, distance in bytes), in any order.
    """

    offset: int
    dims: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often bytes are covered.

    Attributes:
        least: by how many lattices those are that are covered least.
        most: the same for most.
    """

    least: int
    most: int


class _IrregularError(ValueError):
    """The lattices have no common grid."""


def coverage(lattices: Sequence[Lattice], nbytes: int, item: int) -> Coverage | None:
    """How often the bytes 0 to `nbytes` are covered; None if that has no simple answer.

    Args:
        lattices: what covers them; nothing outside.
        nbytes: a multiple of `item`.
        item: bytes of one item of every lattice; offsets and distances are multiples of it.
    """
    if not nbytes:
        return Coverage(0, 0)
    filled = [lattice for lattice in lattices if all(count for count, _ in lattice.dims)]
    try:
        steps = _steps(filled, nbytes, item)
        radices = tuple(
            (step, above // step) for step, above in zip(steps, (*steps[1:], nbytes), strict=True)
        )
        boxes = [box for one in filled for box in _boxes(one.offset, _dims(one), radices)]
        return _count(boxes, radices)
    except _IrregularError:
        return None


def tensor_coverage(regions: Iterable[Region], nbytes: int, item: int) -> Coverage | None:
    """How often the bytes of a tensor lie in some regions; None if that has no simple answer.

    Args:
        regions: where it lies.
        nbytes: its size.
        item: bytes of an element.
    """
    lattices = [
        Lattice(region.source_offset, tuple(zip(region.shape, region.source_stride, strict=True)))
        for region in regions
    ]
    return coverage(lattices, nbytes, item)


def _steps(lattices: Sequence[Lattice], nbytes: int, item: int) -> tuple[int, ...]:
    """The distances that occur, smallest first; each divides the next, and the last all bytes."""
    found = {step for lattice in lattices for step in _dims(lattice)}
    steps = tuple(sorted(found | {item}))
    if any(above % step for step, above in itertools.pairwise((*steps, nbytes))):
        raise _IrregularError
    if any(lattice.offset % item for lattice in lattices):
        raise _IrregularError
    return steps if steps[-1] < nbytes or len(steps) == 1 else steps[:-1]


def _dims(lattice: Lattice) -> dict[int, int]:
    """Distance -> count, of the dimensions that have one."""
    dims = [(step, count) for count, step in lattice.dims if count > 1]
    if len(dict(dims)) != len(dims) or any(step <= 0 for step, _ in dims):
        raise _IrregularError
    return dict(dims)


def _boxes(
    offset: int, dims: dict[int, int], radices: tuple[tuple[int, int], ...]
) -> Iterator[Box]:
    """The boxes of digits that a lattice is; more than one where it crosses a radix."""
    box: list[tuple[int, int]] = []
    for index, (step, radix) in enumerate(radices):
        digit, count = offset // step % radix, dims.get(step, 1)
        if digit + count <= radix:
            box.append((digit, digit + count))
            continue
        if index + 1 == len(radices):
            raise _IrregularError
        whole = count - count % radix
        if digit or whole != count:
            first = radix - digit if digit else whole
            yield from _boxes(offset, {**dims, step: first}, radices)
            yield from _boxes(offset + first * step, {**dims, step: count - first}, radices)
            return
        above = radices[index + 1][0]
        if dims.get(above, 1) > 1:
            raise _IrregularError
        dims = {**dims, step: radix, above: count // radix}
        box.append((0, radix))
    yield tuple(box)


def _count(boxes: Sequence[Box], radices: tuple[tuple[int, int], ...]) -> Coverage:
    cuts = [
        sorted({0, radix, *(bound for box in boxes for bound in box[axis])})
        for axis, (_, radix) in enumerate(radices)
    ]
    shape = tuple(len(axis) - 1 for axis in cuts)
    if prod(shape) > CELLS_LIMIT:
        raise _IrregularError
    cell_of = [{bound: index for index, bound in enumerate(axis)} for axis in cuts]
    counts = np.zeros(shape, np.int32)
    for box in boxes:
        spans = zip(cell_of, box, strict=True)
        counts[tuple(slice(cells[first], cells[end]) for cells, (first, end) in spans)] += 1
    return Coverage(int(counts.min()), int(counts.max()))
