"""The storages of a model where other processes can map them: the host's moved, a GPU's as is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
import torch

from pvc.live.memory import sealed
from pvc.live.memory.host import HostMemory, HostWritable
from pvc.live.protocol.manifest import Manifest, Storage
from pvc.live.protocol.process import ProcessIdentity
from pvc.live.pytorch.placement import HOST, UnshareableError, is_plain

if TYPE_CHECKING:
    import contextlib

    from pvc.live.memory.host import Memory, Writable
    from pvc.live.pytorch.placement import Placement, StorageGroup

_claimed: set[int] = set()
"""Addresses of the storages that engines of this process share."""


def _address(tensor: torch.Tensor) -> int:
    has_one = is_plain(tensor) and tensor.device.type != "meta" and tensor.numel()
    return tensor.untyped_storage().data_ptr() if has_one else 0


class SharedStorages:
    """The storages of a placement, shared.

    Args:
        placement: which tensors.
        undo: what ends the sharing is added to this.
        rank: the worker that they belong to.

    Attributes:
        descriptors: of the host's storages, for reading.
        storages: all of them, for the manifest.
        memories: all of them, for reading.
        targets: all of them, for writing.

    Raises:
        UnshareableError: another engine of this process shares one of the tensors.
        DeviceError: memory of a device cannot be shared.
        RoomError: there is too little memory; the model is as it was.
    """

    def __init__(self, placement: Placement, undo: contextlib.ExitStack, rank: int = 0) -> None:
        for entry in placement.entries:
            if _address(entry.tensor) in _claimed:
                raise UnshareableError(entry.name, "another engine of this process shares it")
        self._rank = rank
        self._placement = placement
        self.descriptors: list[int] = []
        self.storages: list[Storage] = []
        self.memories: list[Memory] = []
        self.targets: list[Writable] = []
        self._index: dict[int, int] = {}
        self._share_devices()
        if placement.host_bytes:
            self._share_host(undo)
        addresses = {_address(entry.tensor) for entry in placement.entries} - {0}
        _claimed.update(addresses)
        undo.callback(_claimed.difference_update, addresses)

    def place(self, group: StorageGroup) -> tuple[int, int]:
        """Where a storage of the model is now: index of the shared one, and first byte in it."""
        return self._index[id(group)], group.offset

    def manifest(self, name: str, model: str) -> Manifest:
        """The manifest of an engine with these tensors."""
        placement = self._placement
        tensors = {
            entry.name: entry.live(self._index.get(id(entry.group), 0))
            for entry in placement.entries
        }
        return Manifest(
            name, model, ProcessIdentity.current(), tuple(self.storages), tensors, placement.ties()
        )

    def _share_host(self, undo: contextlib.ExitStack) -> None:
        nbytes = self._placement.host_bytes
        fd = sealed.create("shared weights", nbytes)
        try:
            mapped = sealed.map_writable(fd, nbytes)
            self._placement.move(fd, mapped)
            sealed.seal(fd, sealed.WEIGHTS_SEALS)
            descriptor = sealed.read_only(fd)
        finally:
            os.close(fd)
        undo.callback(os.close, descriptor)
        for group in self._placement.groups(HOST):
            self._index[id(group)] = len(self.storages)
        self.descriptors.append(descriptor)
        self.storages.append(Storage(self._rank, HOST, nbytes, {}))
        memory = HostMemory(np.frombuffer(mapped, np.uint8))
        self.memories.append(memory)
        self.targets.append(HostWritable(memory))

    def _share_devices(self) -> None:
        groups = list(self._placement.groups("cuda"))
        if not groups:
            return
        from pvc.live.memory.cuda import CudaMemory, CudaWritable, export

        for group in groups:
            self._index[id(group)] = len(self.storages)
            data = torch.empty(0, dtype=torch.uint8, device=group.device).set_(
                group.views[0].untyped_storage()
            )
            device, handle = export(data)
            self.storages.append(Storage(self._rank, device, group.nbytes, handle))
            self.memories.append(CudaMemory(data))
            self.targets.append(CudaWritable(data))
