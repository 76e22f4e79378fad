"""Weights on a GPU: handles by which other processes read them, and how they are written.

A handle is what the CUDA driver gives for sharing memory between processes (IPC), as PyTorch passes
it on: numbers and bytes, here as JSON.  Devices are named by UUID, since numbers depend on what is
visible to a process.  New bytes are brought to the device while an update is prepared, so that a
commit only copies within it.

Needs torch with CUDA.  Limits: uses two private functions of torch, whose form is checked; engine
and client need to be on one host, with IPC and the same GPUs visible to both.
"""

from __future__ import annotations

import base64
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pvc.errors import PvcError
from pvc.live.memory.sealed import RoomError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pvc.live.protocol.manifest import Storage
    from pvc.live.protocol.region import MemoryPiece

    Bytes = NDArray[np.uint8]

CHUNK = 64 << 20
"""Bytes that are brought to the device at a time."""

_FIELDS = (
    "device", "handle", "size", "offset", "counter", "counter_offset", "event", "event_required",
)  # fmt: skip
_BINARY = {"handle", "counter", "event"}
_NO_POOL = (0, 0)


class DeviceError(PvcError):
    """Memory of a GPU cannot be shared, or opened.

    Attributes:
        reason: why not, and what helps.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The GPU's memory cannot be shared: {reason}.")


def export(data: torch.Tensor) -> tuple[str, dict[str, Any]]:
    """Name of the device, and what another process needs to open a storage.

    Args:
        data: all of the storage's bytes, u8 [n].

    Raises:
        DeviceError: it lies in memory that cannot be shared.
    """
    _check_segment(data)
    parts = data.untyped_storage()._share_cuda_()  # type: ignore[no-untyped-call]  # see Limits
    if len(parts) != len(_FIELDS):
        raise DeviceError(f"torch {torch.__version__} describes it in a form that is not known")
    handle = {
        name: base64.b64encode(part).decode() if name in _BINARY else int(part)
        for name, part in zip(_FIELDS, parts, strict=True)
    }
    return _name(data.device.index or 0), handle


def open_memory(storage: Storage) -> CudaMemory:
    """Open a storage of another process for reading.

    Raises:
        DeviceError: the GPU is not visible here, or the handle is no good.
    """
    if not torch.cuda.is_available():
        raise DeviceError("no GPU can be used in this process")
    names = {_name(index): index for index in range(torch.cuda.device_count())}
    if storage.device not in names:
        raise DeviceError(f"{storage.device} is not visible here, only {', '.join(sorted(names))}")
    parts = _parse(storage)
    initialise: Any = torch.cuda.init
    initialise()
    try:
        opened = torch.UntypedStorage._new_shared_cuda(  # noqa: SLF001  # see Limits
            names[storage.device], *parts[1:]
        )
    except RuntimeError as error:
        raise DeviceError(f"the driver refuses its handle ({error})") from error
    device = torch.device("cuda", names[storage.device])
    return CudaMemory(torch.empty(0, dtype=torch.uint8, device=device).set_(opened))


class CudaMemory:
    """A storage on a GPU.

    Args:
        data: all of its bytes, u8 [n].
    """

    def __init__(self, data: torch.Tensor) -> None:
        self._data = data

    def rows(self, piece: MemoryPiece) -> Bytes:
        """See `pvc.live.memory.host.Memory.rows`; a copy."""
        found: Bytes = _rows(self._data, piece, piece.live, piece.live_step).cpu().numpy()
        return found


class CudaWritable:
    """A storage on a GPU that can be written.

    Args:
        data: all of its bytes, u8 [n].
    """

    def __init__(self, data: torch.Tensor) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._differing = torch.zeros((), dtype=torch.bool, device=data.device)

    def load(self, stage: Bytes) -> torch.Tensor:
        """See `pvc.live.memory.host.Writable.load`.

        Raises:
            RoomError: the device has too little memory.
            DeviceError: what arrived is not what was sent.
        """
        try:
            loaded = torch.empty(len(stage), dtype=torch.uint8, device=self._data.device)
            pinned = torch.empty(min(CHUNK, len(stage)), dtype=torch.uint8, pin_memory=True)
        except torch.OutOfMemoryError:
            raise RoomError("the stage on the GPU", len(stage), "the GPU is full") from None
        for start in range(0, len(stage), CHUNK):
            part = stage[start : start + CHUNK]
            host, device = pinned[: len(part)], loaded[start : start + len(part)]
            np.copyto(host.numpy(), part)
            device.copy_(host)
            if not np.array_equal(host.copy_(device).numpy(), part):
                raise DeviceError("what arrived on the GPU is not what was sent")
        return loaded

    def begin(self) -> None:
        """See `pvc.live.memory.host.Writable.begin`."""
        torch.cuda.synchronize(self._data.device)  # kernels of steps may still read
        self._differing.zero_()

    def write(self, piece: MemoryPiece, stage: torch.Tensor, at: int) -> None:
        """See `pvc.live.memory.host.Writable.write`."""
        _rows(self._data, piece, piece.live, piece.live_step).copy_(_staged(stage, piece, at))

    def holds(self, piece: MemoryPiece, stage: torch.Tensor, at: int, _: bytes | None) -> bool:
        """See `pvc.live.memory.host.Writable.holds`; the answer comes with `finish`."""
        live = _rows(self._data, piece, piece.live, piece.live_step)
        differing = (live != _staged(stage, piece, at)).any()
        with self._lock:
            self._differing |= differing
        return True

    def finish(self) -> bool:
        """See `pvc.live.memory.host.Writable.finish`."""
        torch.cuda.synchronize(self._data.device)
        return not bool(self._differing)


def _rows(data: torch.Tensor, piece: MemoryPiece, start: int, step: int) -> torch.Tensor:
    return data.as_strided((piece.rows, piece.length), (step, 1), start)


def _staged(stage: torch.Tensor, piece: MemoryPiece, at: int) -> torch.Tensor:
    return _rows(stage, piece, at + piece.source, piece.source_step)


def _name(index: int) -> str:
    uuid = str(torch.cuda.get_device_properties(index).uuid)
    return f"cuda:{uuid if uuid.startswith('GPU-') else f'GPU-{uuid}'}"


def _check_segment(data: torch.Tensor) -> None:
    """Handles only work for memory that stays where it is, and is one allocation of the driver."""
    address = data.data_ptr()
    snapshot: Any = torch.cuda.memory_snapshot
    for segment in snapshot():
        if not segment["address"] <= address < segment["address"] + segment["total_size"]:
            continue
        if segment.get("is_expandable"):
            raise DeviceError(
                "it lies in expandable segments; start the engine without "
                "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True"
            )
        if tuple(segment.get("segment_pool_id", _NO_POOL)) != _NO_POOL:
            raise DeviceError(
                "it lies in a pool that can be unmapped; start the engine without sleep mode"
            )
        return
    raise DeviceError("torch's own allocator did not allocate it; start the engine without others")


def _parse(storage: Storage) -> list[Any]:
    if set(storage.handle) != set(_FIELDS):
        raise DeviceError("its handle is malformed")
    try:
        parts = [
            base64.b64decode(storage.handle[name], validate=True)
            if name in _BINARY
            else int(storage.handle[name])
            for name in _FIELDS
        ]
    except (TypeError, ValueError):
        raise DeviceError("its handle is malformed") from None
    if parts[_FIELDS.index("size")] != storage.nbytes:
        raise DeviceError("its handle is for memory of another size")
    parts[-1] = bool(parts[-1])
    return parts
