"""One worker's part of a model: which tensors of the checkpoint it holds, where, and shared.

A tensor is direct here if tracing explains where its parts lie, and they hold the checkpoint's
bytes.  Those that were packed, converted or derived while they were loaded are not.
"""

from __future__ import annotations

import gc
import itertools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.multiprocessing.reductions import StorageWeakRef

from pvc.live.manifest import LiveTensor, Manifest
from pvc.live.memory import pieces_of, strided
from pvc.live.placing import HOST, Placement, all_tensors
from pvc.live.process import Process
from pvc.live.shared import Shared
from pvc.live.vllm.trace import Trace, trace
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.header import TensorPlace
from pvc.weights.reader import CheckpointReader
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence
    from pathlib import Path

    from pvc.live.memory import Memory
    from pvc.live.placing import Group
    from pvc.live.region import Region

log = logging.getLogger("vllm.pvc")

Tracing = Callable[[torch.nn.Module, Mapping[str, TensorPlace]], Trace]
Place = tuple[int, int]  # index of a shared storage, first byte in it


@dataclass(frozen=True, slots=True)
class Part:
    """What a worker shares.

    Attributes:
        manifest: every tensor of the checkpoint; those of other ranks without regions.
        shared: the storages.
    """

    manifest: Manifest
    shared: Shared


def share_part(
    model: torch.nn.Module,
    folder: Path,
    rank: int,
    undo: contextlib.ExitStack,
    tracing: Tracing = trace,
) -> Part:
    """Share a worker's model.

    Args:
        model: what it has loaded.
        folder: the checkpoint that it was loaded from.
        rank: its number among all workers.
        undo: what ends it is added to this.
        tracing: finds out where the tensors of a checkpoint lie.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UnshareableError, DeviceError: a tensor cannot be shared.
        RoomError: there is too little memory; the model is as it was.
    """
    checkpoint = Checkpoint.open(folder)
    traced = tracing(model, checkpoint.tensors)
    placement = Placement(_stored(model, traced), all_tensors(model))
    groups = [placement.group_of(storage) for storage in traced.storages]
    before = [StorageWeakRef(storage) for storage in traced.storages]  # type: ignore[no-untyped-call]
    traced = replace(traced, storages=())
    shared = Shared(placement, undo, rank)
    gc.collect()
    places = [
        None if group is None or _is_held(group, one) else shared.place(group)
        for group, one in zip(groups, before, strict=True)
    ]
    with CheckpointReader(checkpoint) as reader:
        content = _Content(reader, shared.memories)
        tensors = {
            name: content.tensor(place, _regions(traced, name, places))
            for name, place in checkpoint.tensors.items()
        }
    _report(rank, tensors, traced)
    process, storages = Process.current(), tuple(shared.storages)
    model_name = type(model).__name__
    manifest = Manifest(f"rank-{rank}", model_name, process, storages, tensors, _ties(tensors))
    return Part(manifest, shared)


def _stored(model: torch.nn.Module, traced: Trace) -> dict[str, torch.Tensor]:
    """The tensors of a model that lie in the storages that a checkpoint was loaded into."""
    wanted = {storage.data_ptr() for storage in traced.storages}
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name: one for name, one in named if one.untyped_storage().data_ptr() in wanted}


def _is_held(group: Group, before: StorageWeakRef) -> bool:
    """Whether something that nobody knows of still computes with what a storage was before."""
    gone = before.expired()  # type: ignore[no-untyped-call]
    return group.device.type == HOST and not gone


def _regions(traced: Trace, name: str, places: Sequence[Place | None]) -> tuple[Region, ...] | None:
    """Where a tensor lies in the shared storages; None if that is not known."""
    if name in traced.problems:
        return None
    found = []
    for region in traced.regions.get(name, ()):
        place = places[region.storage]
        if place is None:
            return None
        storage, start = place
        found.append(replace(region, storage=storage, offset=start + region.offset))
    return tuple(found)


class _Content:
    """Compares what is loaded with the checkpoint."""

    def __init__(self, reader: CheckpointReader, memories: Sequence[Memory]) -> None:
        self._reader = reader
        self._memories = memories

    def tensor(self, place: TensorPlace, regions: tuple[Region, ...] | None) -> LiveTensor:
        """A tensor of the checkpoint as it lies here."""
        live = LiveTensor(place.name, place.kind, place.shape, direct=True, regions=regions or ())
        blocks = range(live.block_count)
        if regions is None or not all(self._holds(live, place, block) for block in blocks):
            return replace(live, direct=False, regions=())
        return live

    def _holds(self, live: LiveTensor, place: TensorPlace, index: int) -> bool:
        pieces = pieces_of(live, index)
        if not pieces:
            return True
        start = index * BLOCK_BYTES
        block = np.empty(min(BLOCK_BYTES, live.nbytes - start), np.uint8)
        self._reader.read_into(place, start, block)
        return all(
            np.array_equal(
                self._memories[piece.storage].rows(piece),
                strided(block, piece.source, piece, piece.source_step),
            )
            for piece in pieces
        )


def _ties(tensors: Mapping[str, LiveTensor]) -> tuple[tuple[str, ...], ...]:
    """Groups of names that are one tensor in memory."""
    spots: dict[tuple[Region, ...], list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.regions:
            spots.setdefault(tensor.regions, []).append(name)
    return tuple(tuple(names) for names in spots.values() if len(names) > 1)


def _report(rank: int, tensors: Mapping[str, LiveTensor], traced: Trace) -> None:
    direct = sum(tensor.direct and bool(tensor.regions) for tensor in tensors.values())
    log.info("pvc: Rank %d shares %d of %d tensors.", rank, direct, len(tensors))
    for name, tensor in tensors.items():
        if not tensor.direct:
            reason = traced.problems.get(
                name, "its bytes are not, or not only, where the checkpoint's were loaded"
            )
            log.info("pvc: The tensor %s cannot be changed in place: %s.", name, reason)
