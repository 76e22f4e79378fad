"""One worker's part of a model, shared: which tensors of the checkpoint it has, and where.

A tensor is direct here if tracing explains where its parts lie, and they hold the checkpoint's
bytes.  Tensors that were packed, converted or derived while they were loaded are not direct.
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

from pvc.live.memory.host import pieces_of, strided
from pvc.live.protocol.manifest import LiveTensor, Manifest
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.pytorch.placement import HOST, Placement, all_tensors
from pvc.live.pytorch.storages import SharedStorages
from pvc.live.pytorch.watch import Watch
from pvc.live.vllm.loader.model_loader import ModelLoader
from pvc.live.vllm.tracing.trace import Trace
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.header import TensorPlace
from pvc.weights.reader import CheckpointReader
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence
    from pathlib import Path

    from pvc.live.memory.host import Memory
    from pvc.live.protocol.region import Region
    from pvc.live.pytorch.placement import StorageGroup
    from pvc.live.vllm.loader.indirect_tensors import IndirectTensors
    from pvc.live.vllm.loader.module_lifecycle import ModuleLifecycle

log = logging.getLogger("vllm.pvc")

COPIED = "the engine computes with a packed copy of it"
OTHERWISE = "its bytes are not, or not only, where the checkpoint's were loaded"

Tracing = Callable[[torch.nn.Module, Mapping[str, TensorPlace]], Trace]
Place = tuple[int, int]  # index of a shared storage, first byte in it


@dataclass(frozen=True, slots=True)
class WorkerModel:
    """The model of a worker.

    Attributes:
        model: the model, loaded.
        folder: the checkpoint that it was loaded from.
        trace: finds out where tensors of the checkpoint lie in it.
        lifecycle: what vLLM does with its modules.
    """

    model: torch.nn.Module
    folder: Path
    trace: Tracing
    lifecycle: ModuleLifecycle


@dataclass(frozen=True, slots=True)
class SharedPart:
    """What a worker shares.

    Attributes:
        manifest: every tensor of the checkpoint; those of other ranks without regions.
        shared: the storages.
        indirect: the tensors that are not direct.
        watch: sees whether the model still computes with what is shared.
    """

    manifest: Manifest
    shared: SharedStorages
    indirect: IndirectTensors
    watch: Watch


def share_part(worker: WorkerModel, rank: int, undo: contextlib.ExitStack) -> SharedPart:
    """Share a worker's model.

    Args:
        worker: the model.
        rank: the worker's number among all.
        undo: what ends the sharing is added to this.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UnshareableError, DeviceError: a tensor cannot be shared.
        RoomError: there is too little memory; the model is as it was.
    """
    model, checkpoint = worker.model, Checkpoint.open(worker.folder)
    every = checkpoint.own_tensors
    loader = ModelLoader(model, every, worker.lifecycle)
    copied = loader.copied()
    wanted = {name: one for name, one in every.items() if name not in copied}
    traced = worker.trace(model, wanted)
    stored = _stored(model, traced)
    placement = Placement(stored, all_tensors(model))
    groups = [placement.group_of(storage) for storage in traced.storages]
    before = [StorageWeakRef(storage) for storage in traced.storages]  # type: ignore[no-untyped-call]
    traced = replace(traced, storages=())
    shared = SharedStorages(placement, undo, rank)
    gc.collect()
    places = [
        None if group is None or _is_used_elsewhere(group, one) else shared.place(group)
        for group, one in zip(groups, before, strict=True)
    ]
    regions = {name: None if name in copied else _regions(traced, name, places) for name in every}
    with CheckpointReader(checkpoint) as reader:
        content = _Content(reader, shared.memories)
        tensors = {name: content.tensor(place, regions[name]) for name, place in every.items()}
        reasons = dict.fromkeys((name for name in every if not tensors[name].direct), OTHERWISE)
        reasons.update(dict.fromkeys(copied, COPIED))
        reasons.update({name: why for name, why in traced.problems.items() if name in reasons})
        bound = frozenset(name for name in reasons if _is_bound(traced, name, places))
        indirect = loader.indirect_tensors(reader, reasons, bound)
    for name in indirect.names:
        tensors[name] = replace(tensors[name], direct=False, regions=())
    direct = sum(tensor.direct and bool(tensor.regions) for tensor in tensors.values())
    log.info("pvc: Rank %d shares %d of %d tensors.", rank, direct, len(tensors))
    indirect.report()
    process, storages = ProcessIdentity.current(), tuple(shared.storages)
    manifest = Manifest(
        f"rank-{rank}", type(model).__name__, process, storages, tensors, _ties(tensors),
        indirect.groups, tuple(sorted(traced.unmapped)),
    )  # fmt: skip
    return SharedPart(manifest, shared, indirect, Watch(model, stored))


def _stored(model: torch.nn.Module, traced: Trace) -> dict[str, torch.Tensor]:
    """The tensors of a model that lie in the storages that a checkpoint was loaded into."""
    wanted = {storage.data_ptr() for storage in traced.storages}
    named = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name: one for name, one in named if one.untyped_storage().data_ptr() in wanted}


def _is_used_elsewhere(group: StorageGroup, before: StorageWeakRef) -> bool:
    """Whether an object other than the model's tensors still uses a storage that was replaced."""
    gone = before.expired()  # type: ignore[no-untyped-call]
    return group.device.type == HOST and not gone


def _is_bound(traced: Trace, name: str, places: Sequence[Place | None]) -> bool:
    """Whether a tensor lies in a storage that is used elsewhere, too."""
    return any(places[region.storage] is None for region in traced.regions.get(name, ()))


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
