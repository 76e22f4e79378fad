"""Moving a model's tensors into memory that other processes can map.

Parameters and buffers stay the same objects, with their strides, ties, gradients and versions: only
the storage that they are views of is another one.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from pvc.errors import PvcError
from pvc.live.memory import sealed
from pvc.live.protocol.manifest import LiveTensor
from pvc.live.protocol.region import Region
from pvc_store.kinds import KIND_BY_NAME

if TYPE_CHECKING:
    import mmap
    from collections.abc import Iterable, Iterator, Mapping

    from pvc_store.kinds import Kind

PAGE = 4096
HOST = "cpu"

_KIND_OF = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "bfloat16": "BF16", "float16": "F16",
    "float32": "F32", "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip

DTYPE_OF: dict[str, torch.dtype] = {
    kind: getattr(torch, dtype) for dtype, kind in _KIND_OF.items() if hasattr(torch, dtype)
}
"""Name of a kind -> dtype, of those that this PyTorch has."""


class UnshareableError(PvcError):
    """A tensor cannot be shared.

    Attributes:
        name: the tensor.
        reason: why not.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"The tensor {name} cannot be shared: {reason}.")


@dataclass
class StorageGroup:
    """Tensors that are views of one storage.

    Attributes:
        device: where it is.
        nbytes: its size.
        views: the tensors, each once.
        offset: where it lies in the shared memory, if that is the host's.
    """

    device: torch.device
    nbytes: int
    views: list[torch.Tensor] = field(default_factory=list)
    offset: int = 0


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor by the name that checkpoints give it, and the storage that it lies in."""

    name: str
    tensor: torch.Tensor
    kind: Kind
    group: StorageGroup

    def spot(self) -> tuple[int, int, tuple[int, ...], tuple[int, ...], str]:
        """Equal for two names of one tensor."""
        tensor = self.tensor
        start = int(tensor.storage_offset()) * tensor.element_size()
        return id(self.group), start, tuple(tensor.shape), tensor.stride(), self.kind.name

    def live(self, storage: int) -> LiveTensor:
        """Its place for the manifest; `storage` is the index of its group's memory."""
        tensor, item = self.tensor, self.tensor.element_size()
        shape = tuple(tensor.shape)
        stride = tuple(step * item for step in tensor.stride())
        start = self.group.offset + int(tensor.storage_offset()) * item
        region = Region(storage, start, shape, stride, 0, _dense(shape, item))
        regions = (region,) if tensor.numel() else ()
        return LiveTensor(self.name, self.kind, shape, direct=True, regions=regions)


class Placement:
    """The tensors of a model, by storage.

    Args:
        named: the tensors that checkpoints hold, by their names there.
        others: further tensors of the model, which follow if they share a storage with those.

    Raises:
        UnshareableError: one of `named` cannot be shared.
    """

    def __init__(self, named: Mapping[str, torch.Tensor], others: Iterable[torch.Tensor]) -> None:
        self._groups: dict[tuple[str, int], StorageGroup] = {}
        self.entries = [self._entry(name, tensor) for name, tensor in named.items()]
        seen = {id(tensor) for tensor in named.values()}
        for tensor in others:
            if id(tensor) not in seen and is_plain(tensor):
                seen.add(id(tensor))
                self._follow(tensor)
        _check_overlaps(self.entries)
        self.host_bytes = 0
        for group in self.groups(HOST):
            group.offset = self.host_bytes
            self.host_bytes += -(-group.nbytes // PAGE) * PAGE

    def groups(self, device: str) -> Iterator[StorageGroup]:
        """The storages on a sort of device that hold anything."""
        found = self._groups.values()
        return (group for group in found if group.nbytes and group.device.type == device)

    def group_of(self, storage: torch.UntypedStorage) -> StorageGroup | None:
        """The group of a storage as it was before anything moved; None if no tensor has it."""
        return self._groups.get((str(storage.device), storage.data_ptr()))

    def ties(self) -> tuple[tuple[str, ...], ...]:
        """Groups of names that are one tensor."""
        spots: dict[object, list[str]] = {}
        for entry in self.entries:
            if entry.tensor.numel():
                spots.setdefault(entry.spot(), []).append(entry.name)
        return tuple(tuple(names) for names in spots.values() if len(names) > 1)

    def move(self, fd: int, mapped: mmap.mmap) -> None:
        """Move the host's storages into shared memory; if there is no room, all of them back.

        Raises:
            RoomError: there is too little.
        """
        moved: list[StorageGroup] = []
        try:
            for group in self.groups(HOST):
                sealed.reserve(fd, group.offset, group.nbytes, "shared weights")
                moved.append(group)
                shared = torch.frombuffer(
                    mapped, dtype=torch.uint8, count=group.nbytes, offset=group.offset
                )
                _rebind(group, shared)
        except sealed.RoomError:
            for group in moved:
                _rebind(group, torch.empty(group.nbytes, dtype=torch.uint8))
            raise

    def _entry(self, name: str, tensor: torch.Tensor) -> PlacedTensor:
        reason = _unfit(tensor)
        if reason is not None:
            raise UnshareableError(name, reason)
        kind = KIND_BY_NAME[_KIND_OF[_dtype(tensor)]]
        storage = tensor.untyped_storage()
        key = (str(tensor.device), storage.data_ptr())
        group = self._groups.setdefault(key, StorageGroup(tensor.device, storage.nbytes()))
        if not any(view is tensor for view in group.views):
            group.views.append(tensor)
        return PlacedTensor(name, tensor, kind, group)

    def _follow(self, tensor: torch.Tensor) -> None:
        key = (str(tensor.device), tensor.untyped_storage().data_ptr())
        if key in self._groups and tensor.numel():
            self._groups[key].views.append(tensor)


def _rebind(group: StorageGroup, target: torch.Tensor) -> None:
    """Let the tensors of a group be views of `target`, which takes over their bytes."""
    old = group.views[0].untyped_storage()
    if old.nbytes():
        target.copy_(torch.empty(0, dtype=torch.uint8).set_(old))
    storage = target.untyped_storage()
    for view in group.views:
        view.data = torch.empty(0, dtype=view.dtype).set_(
            storage, view.storage_offset(), view.shape, view.stride()
        )


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether it is neither quantised, nor distributed, nor a wrapper around other tensors."""
    return type(tensor.data) is torch.Tensor and tensor.layout is torch.strided


def all_tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """All tensors of a model, buffers that are not saved and plain attributes among them."""
    for module in model.modules():
        yield from module.parameters(recurse=False)
        yield from module.buffers(recurse=False)
        yield from (value for value in vars(module).values() if isinstance(value, torch.Tensor))


def _unfit(tensor: torch.Tensor) -> str | None:
    if not is_plain(tensor):
        return f"it is a {type(tensor.data).__name__}, not a plain tensor"
    if tensor.device.type not in {HOST, "cuda"}:
        return f"it is on the device {tensor.device}; load the whole model onto one CPU or GPU"
    if _dtype(tensor) not in _KIND_OF:
        return f"its dtype is {_dtype(tensor)}"
    if any(n > 1 and step <= 0 for n, step in zip(tensor.shape, tensor.stride(), strict=True)):
        return "its elements overlap (it was expanded); make it contiguous first"
    return None


def _check_overlaps(entries: list[PlacedTensor]) -> None:
    spans = sorted(_span(entry, at) for at, entry in enumerate(entries) if entry.tensor.numel())
    for (group, _, end, one), (other, start, _, two) in itertools.pairwise(spans):
        first, second = entries[one], entries[two]
        if group == other and start < end and first.spot() != second.spot():
            reason = f"it shares a part of its memory with {first.name}"
            raise UnshareableError(second.name, reason)


def _span(entry: PlacedTensor, at: int) -> tuple[int, int, int, int]:
    """Storage, first byte, first byte behind it, and `at`."""
    (region,) = entry.live(0).regions
    return id(entry.group), region.offset, region.end(entry.kind.bits // 8), at


def _dense(shape: tuple[int, ...], item: int) -> tuple[int, ...]:
    """Strides in bytes of a tensor as checkpoints hold it."""
    strides, step = [], item
    for length in reversed(shape):
        strides.append(step)
        step *= max(1, length)
    return tuple(reversed(strides))
