"""Writing what is not direct, in a worker: whole groups of tensors, through the model's loader.

What was put through it last is remembered, since it cannot be read back; and what the loader made
of it, as a hash, so that it is seen if that changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc.live.engine.writer import ForeignTensorError, MovedOnError, StagedError, nbytes_of
from pvc.live.memory import sealed
from pvc.live.protocol.applied import unknown
from pvc.live.protocol.update import lengths, offsets, stage_bytes
from pvc.live.vllm.loader.indirect import as_stored, as_tensor
from pvc_store.tree import block_count

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from pvc.live.protocol.manifest import Manifest
    from pvc.live.protocol.update import TensorUpdate, WeightUpdate
    from pvc.live.vllm.loader.grouping import LoaderGroup
    from pvc.live.vllm.loader.indirect import Indirect
    from pvc_store.tree import Tensor

    Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Prepared:
    """Groups that are to be loaded.

    Attributes:
        groups: which.
        tensors: what they are to be, as a tree has it.
        bytes: the same in the stage.
    """

    groups: tuple[LoaderGroup, ...]
    tensors: dict[str, Tensor]
    bytes: dict[str, Bytes]


class Loading:
    """Writes the tensors of a worker that are not direct.

    Args:
        manifest: what the worker has.
        indirect: which of its tensors that is about.
    """

    def __init__(self, manifest: Manifest, indirect: Indirect) -> None:
        self._manifest = manifest
        self._nbytes = nbytes_of(manifest)
        self._groups = indirect.groups
        self._refiller = indirect.refiller
        self._applied = dict(indirect.loaded)
        self._made = {group: self._hash(group) for group in self._groups}
        self._prepared: _Prepared | None = None

    def applied(self) -> list[Tensor]:
        """What was last applied to each tensor that is not direct: `pvc.live.protocol.applied`."""
        for group in self._groups:
            if self._hash(group) != self._made[group]:
                self._forget(group)
        return list(self._applied.values())

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Check the groups of a change, and keep them ready; nothing is changed.

        Raises:
            ForeignTensorError: it is not of whole groups.
            SealError, StagedError: the stage is not what it should be.
            MovedOnError: something else was applied than the client thinks.
        """
        self.drop()
        changes = {tensor.name: tensor for tensor in change.tensors}
        groups = tuple(one for one in self._groups if changes.keys() & set(one.tensors))
        if not groups:
            return
        for group in groups:
            for name in group.tensors:
                self._check(name, changes.get(name))
        staged = self._staged(change, stage_fd)
        names = [name for group in groups for name in group.tensors]
        forms = self._manifest.tensors
        tensors = {name: as_stored(name, staged[name], forms[name]) for name in names}
        for name, tensor in tensors.items():
            if tensor.keys != changes[name].after:
                raise StagedError(name)
        self._prepared = _Prepared(groups, tensors, {name: staged[name] for name in names})

    def commit(self) -> None:
        """Load what was prepared.

        Raises:
            RefillError: the loader has failed.
        """
        prepared = self._prepared
        if prepared is None or self._refiller is None:
            return

        def content(name: str) -> torch.Tensor:
            return as_tensor(prepared.bytes[name].copy(), self._manifest.tensors[name])

        for group in prepared.groups:
            self._forget(group)
        for group in prepared.groups:
            self._refiller.refill(group, content)
            self._applied.update({name: prepared.tensors[name] for name in group.tensors})
            self._made[group] = self._hash(group)

    def drop(self) -> None:
        """Forget what was prepared."""
        self._prepared = None

    def _check(self, name: str, change: TensorUpdate | None) -> None:
        if change is None or len(change.indices) != self._manifest.tensors[name].block_count:
            detail = "it has to be sent whole, with all that is loaded together with it"
            raise ForeignTensorError(name, detail)
        if change.before != self._applied[name].keys:
            raise MovedOnError(f"something else was loaded into {name}")

    def _staged(self, change: WeightUpdate, stage_fd: int) -> dict[str, Bytes]:
        """The tensors that are in a stage as wholes."""
        nbytes = stage_bytes(change, self._nbytes)
        stage = sealed.map_sealed(stage_fd, nbytes, sealed.STAGE_SEALS, "The stage")
        places = offsets(lengths(change, self._nbytes))
        found = {}
        for tensor in change.tensors:
            starts = [next(places)[0] for _ in tensor.indices]
            size = self._nbytes[tensor.name]
            if len(starts) == block_count(size):  # blocks are multiples of the stage's alignment
                first = starts[0] if starts else 0
                found[tensor.name] = stage[first : first + size]
        return found

    def _forget(self, group: LoaderGroup) -> None:
        self._applied.update({one: unknown(self._manifest.tensors[one]) for one in group.tensors})

    def _hash(self, group: LoaderGroup) -> bytes:
        """A hash of what the loader made."""
        hasher = blake3()
        if self._refiller is not None:
            for data in self._refiller.made(group):
                hasher.update(data.data)
        return hasher.digest()
