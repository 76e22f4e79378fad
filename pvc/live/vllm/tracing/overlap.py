"""Tensors of a checkpoint that are loaded into the same bytes of a model.

A tensor may lie there under two names, as tied embeddings do.  Anything else means that one is
loaded over another: what lies there at last is at most one of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from pvc.live.vllm.tracing.coverage import Lattice, coverage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pvc.live.protocol.region import Region


@dataclass(frozen=True, slots=True)
class _Owned:
    """A region of a tensor.

    Attributes:
        region: the region.
        item: bytes of an element.
        name: the tensor.
    """

    region: Region
    item: int
    name: str

    @property
    def end(self) -> int:
        return self.region.end(self.item)


def overlapping(
    regions: Mapping[str, tuple[Region, ...]], items: Mapping[str, int]
) -> frozenset[str]:
    """The tensors whose bytes in a model are not theirs alone, nor wholly shared with another.

    Args:
        regions: tensor -> where it lies.
        items: tensor -> bytes of an element of it.
    """
    alone = {found: name for name, found in regions.items()}
    owned = [
        _Owned(region, items[name], name)
        for found, name in alone.items()
        for region in found
        if 0 not in region.shape
    ]
    guilty = {one.name for group in _groups(owned) if not _disjoint(group) for one in group}
    return frozenset(name for name, found in regions.items() if alone[found] in guilty)


def _groups(owned: list[_Owned]) -> Iterator[list[_Owned]]:
    """Regions of one storage whose extents overlap, as those of columns do."""
    group: list[_Owned] = []
    end = 0
    for one in sorted(owned, key=lambda one: (one.region.storage, one.region.offset)):
        storage, offset = one.region.storage, one.region.offset
        if group and (storage != group[0].region.storage or offset >= end):
            yield group
            group, end = [], 0
        group.append(one)
        end = max(end, one.end)
    if group:
        yield group


def _disjoint(group: Sequence[_Owned]) -> bool:
    """Whether no byte belongs to two regions; False also if that is unknown."""
    if len(group) == 1:
        return True
    first = min(one.region.offset for one in group)
    unit = gcd(*(one.item for one in group))
    lattices = [
        Lattice(
            one.region.offset - first,
            (*zip(one.region.shape, one.region.stride, strict=True), (one.item // unit, unit)),
        )
        for one in group
    ]
    length = max(one.end for one in group) - first
    widest = max((step for one in lattices for count, step in one.dims if count > 1), default=unit)
    found = coverage(lattices, -(-length // widest) * widest, unit)
    return found is not None and found.most <= 1
