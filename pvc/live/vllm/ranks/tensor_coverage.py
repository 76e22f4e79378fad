"""Whether the ranks of an engine together hold a tensor as a checkpoint does: its regions.

A tensor is direct if this is so, and if the bytes are also the checkpoint's: packing, which leaves
shapes as they are, shows only there.

    whole        every element lies on some rank
    replicas     some lie at several places, as slices of the keys' and values' heads do when there
                 are more ranks than heads; these must agree
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.live.vllm.tracing.coverage import Lattice, coverage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pvc.live.protocol.region import Region
    from pvc.live.vllm.tracing.trace import Described, Trace


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a tensor lies in an engine.

    Attributes:
        whole: whether every element does.
        replicas: whether any does at several places.
        reason: why it cannot be written in place, as far as regions tell; None if it can.
    """

    whole: bool
    replicas: bool
    reason: str | None


def extents(tensors: Mapping[str, Described], ranks: Sequence[Trace]) -> dict[str, Extent]:
    """How much of every tensor the ranks of an engine hold together.

    Args:
        tensors: the checkpoint's, as its headers describe them.
        ranks: what was traced on each.
    """
    return {name: _extent(name, tensor, ranks) for name, tensor in tensors.items()}


def _extent(name: str, tensor: Described, ranks: Sequence[Trace]) -> Extent:
    regions = [region for rank in ranks for region in rank.regions.get(name, ())]
    problems = [rank.problems[name] for rank in ranks if name in rank.problems]
    found = extent(regions, tensor.kind.bytes_of(tensor.shape), tensor.kind.bits // 8)
    if problems:
        return Extent(found.whole, found.replicas, problems[0])
    return found


def extent(regions: Sequence[Region], nbytes: int, item: int) -> Extent:
    """How much of a tensor lies in some regions.

    Args:
        regions: where it lies, on all ranks.
        nbytes: its size.
        item: bytes of an element.
    """
    if nbytes and not regions:
        return Extent(whole=False, replicas=False, reason="no rank loads it")
    lattices = [
        Lattice(region.source_offset, tuple(zip(region.shape, region.source_stride, strict=True)))
        for region in regions
    ]
    found = coverage(lattices, nbytes, item)
    if found is None:
        reason = "its parts are cut in a way that pvc does not understand"
        return Extent(whole=False, replicas=False, reason=reason)
    whole = found.least > 0 or not nbytes
    return Extent(whole, found.most > 1, None if whole else "a part of it is on no rank")
