"""The manifest of an engine, joined from those of its ranks."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.live.protocol.manifest import Manifest
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.vllm.loader.loader_groups import joined_groups
from pvc.live.vllm.ranks.rank_connection import RankError
from pvc.live.vllm.tracing.coverage import tensor_coverage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.live.protocol.manifest import LiveTensor
    from pvc.live.protocol.region import Region


def join_manifests(name: str, parts: Sequence[Manifest]) -> Manifest:
    """The manifest of an engine.

    Args:
        name: the engine.
        parts: the manifests of all ranks, in their order; each lists all tensors.

    Raises:
        RankError: they are not parts of one model.
    """
    first = parts[0]
    for rank, part in enumerate(parts):
        if _forms(part) != _forms(first):
            raise RankError(f"Rank {rank} holds parts of another model than rank 0.")
    starts = tuple(itertools.accumulate((len(part.storages) for part in parts), initial=0))
    tensors: dict[str, LiveTensor] = {}
    unloaded = frozenset.intersection(*(frozenset(part.unloaded) for part in parts))
    for tensor in first.tensors.values():
        if tensor.name in unloaded:
            continue
        same = [part.tensors[tensor.name] for part in parts]
        regions = tuple(
            replace(region, storage=start + region.storage)
            for one, start in zip(same, starts, strict=False)
            for region in one.regions
        )
        direct = all(one.direct for one in same) and _is_whole(tensor, regions)
        tensors[tensor.name] = replace(tensor, direct=direct, regions=regions if direct else ())
    storages = tuple(storage for part in parts for storage in part.storages)
    ties = tuple(
        group
        for group in first.ties
        if all(one in tensors and tensors[one].direct for one in group)
    )
    groups = joined_groups(parts, tensors)
    return Manifest(
        name, first.model, ProcessIdentity.current(), storages, tensors, ties, groups,
        tuple(sorted(unloaded)),
    )  # fmt: skip


def _is_whole(tensor: LiveTensor, regions: Sequence[Region]) -> bool:
    """Whether every element of a tensor lies in some regions."""
    found = tensor_coverage(regions, tensor.nbytes, tensor.kind.bits // 8)
    return not tensor.nbytes or (found is not None and found.least > 0)


def _forms(part: Manifest) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (one.kind.name, one.shape) for name, one in part.tensors.items()}
