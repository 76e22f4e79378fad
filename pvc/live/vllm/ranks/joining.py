"""What the ranks of an engine hold together, as one manifest."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.live.protocol.manifest import Manifest
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.vllm.ranks.tensor_coverage import extent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pvc.live.protocol.manifest import LiveTensor


class OtherPartsError(PvcError):
    """Ranks of one engine do not hold parts of one model.

    Attributes:
        rank: the first that does not fit.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        super().__init__(f"Rank {rank} holds parts of another model than rank 0.")


def joined(name: str, parts: Sequence[Manifest]) -> Manifest:
    """The manifest of an engine.

    Args:
        name: the engine.
        parts: what each rank holds, in the order of ranks; all list all tensors.

    Raises:
        OtherPartsError: they are not parts of one model.
    """
    first = parts[0]
    for rank, part in enumerate(parts):
        if _forms(part) != _forms(first):
            raise OtherPartsError(rank)
    starts = tuple(itertools.accumulate((len(part.storages) for part in parts), initial=0))
    tensors: dict[str, LiveTensor] = {}
    for tensor in first.tensors.values():
        same = [part.tensors[tensor.name] for part in parts]
        regions = tuple(
            replace(region, storage=start + region.storage)
            for one, start in zip(same, starts, strict=False)
            for region in one.regions
        )
        direct = all(one.direct for one in same)
        direct = direct and extent(regions, tensor.nbytes, tensor.kind.bits // 8).whole
        tensors[tensor.name] = replace(tensor, direct=direct, regions=regions if direct else ())
    storages = tuple(storage for part in parts for storage in part.storages)
    ties = tuple(group for group in first.ties if all(tensors[one].direct for one in group))
    groups = _groups(parts, tensors)
    return Manifest(name, first.model, ProcessIdentity.current(), storages, tensors, ties, groups)


def _groups(
    parts: Sequence[Manifest], tensors: Mapping[str, LiveTensor]
) -> tuple[tuple[str, ...], ...]:
    """Those of all ranks, joined where they have a tensor in common.

    Of none of these may a rank hold a part that it would have to write by itself.
    """
    found: list[set[str]] = []
    for group in (set(group) for part in parts for group in part.groups):
        apart = [one for one in found if not one & group]
        found = [*apart, group.union(*(one for one in found if one & group))]
    able = (group for group in found if not any(_is_split(part, group) for part in parts))
    return tuple(tuple(name for name in tensors if name in group) for group in able)


def _is_split(part: Manifest, group: set[str]) -> bool:
    held = {name for name in group if not part.tensors[name].direct or part.tensors[name].regions}
    return not held <= part.grouped


def _forms(part: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (one.kind.name, one.shape) for name, one in part.tensors.items()}
