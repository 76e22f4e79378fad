"""Tensors read from where traces say that they lie."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from pvc.live.memory.host import HostMemory, gather
from pvc.live.protocol.manifest import LiveTensor
from pvc.live.vllm.tracing.coverage import Coverage, tensor_coverage
from pvc_store.block import BLOCK_BYTES
from pvc_store.kinds import KIND_BY_NAME, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pvc.live.protocol.region import Region
    from pvc.live.vllm.tracing.trace import TensorDescription, Trace

BF16 = KIND_BY_NAME["BF16"]


@dataclass(frozen=True)
class Header:
    """What a checkpoint tells of a tensor."""

    shape: tuple[int, ...]
    kind: Kind = BF16


def covered(
    tensors: Mapping[str, TensorDescription], ranks: Sequence[Trace]
) -> dict[str, Coverage]:
    """How often the bytes of every tensor lie on ranks, by their traces."""
    found = {}
    for name, tensor in tensors.items():
        regions = [region for rank in ranks for region in rank.regions.get(name, ())]
        nbytes, item = tensor.kind.bytes_of(tensor.shape), tensor.kind.bits // 8
        found[name] = tensor_coverage(regions, nbytes, item) or Coverage(0, 0)
    return found


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def gathered(name: str, shape: tuple[int, ...], ranks: Sequence[Trace], kind: Kind = BF16) -> bytes:
    """A tensor, read from where traces say that it lies."""
    memories: list[HostMemory] = []
    regions: list[Region] = []
    for rank in ranks:
        own = rank.regions.get(name, ())
        regions += [replace(one, storage=len(memories) + one.storage) for one in own]
        memories += [_memory(storage) for storage in rank.storages]
    live = LiveTensor(name, kind, shape, direct=True, regions=tuple(regions))
    scratch = np.empty(BLOCK_BYTES, np.uint8)
    return b"".join(gather(live, i, memories, scratch).tobytes() for i in range(live.block_count))


def _memory(storage: torch.UntypedStorage) -> HostMemory:
    return HostMemory(torch.empty(0, dtype=torch.uint8).set_(storage).numpy())
