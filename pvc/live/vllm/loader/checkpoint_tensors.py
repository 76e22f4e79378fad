"""The tensors of a checkpoint as wholes: as PyTorch has them, and as a tree names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from blake3 import blake3

from pvc.live.pytorch.placement import DTYPE_OF
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from pvc.live.vllm.tracing.trace import TensorDescription
    from pvc.weights.header import TensorPlace
    from pvc.weights.reader import CheckpointReader

    Bytes = NDArray[np.uint8]
    Content = Callable[[str], torch.Tensor]
    """The tensor of a name, in memory of its own."""


class CheckpointTensors:
    """The tensors of a checkpoint, each read as a whole.

    Args:
        reader: reads it.
        places: where its tensors are, by name.
    """

    def __init__(self, reader: CheckpointReader, places: Mapping[str, TensorPlace]) -> None:
        self._reader = reader
        self._places = places

    def content(self, name: str) -> torch.Tensor:
        """A tensor, in memory of its own."""
        return as_tensor(self._bytes(name), self._places[name])

    def stored(self, name: str) -> Tensor:
        """A tensor, as a tree names it."""
        return as_stored(name, self._bytes(name), self._places[name])

    def _bytes(self, name: str) -> Bytes:
        data = np.empty(self._places[name].nbytes, np.uint8)
        self._reader.read_into(self._places[name], 0, data)
        return data


def as_tensor(data: Bytes, form: TensorDescription) -> torch.Tensor:
    """A tensor of a kind and shape, in the memory of its bytes, u8 [n]."""
    dtype = DTYPE_OF[form.kind.name]
    if not len(data):
        return torch.empty(form.shape, dtype=dtype)
    return torch.from_numpy(data).view(dtype).reshape(form.shape)


def as_stored(name: str, data: Bytes, form: TensorDescription) -> Tensor:
    """What a tree has of a tensor: its digest, and the keys of its blocks."""
    starts = range(0, len(data), BLOCK_BYTES)
    keys = b"".join(block_key(data[start : start + BLOCK_BYTES].data) for start in starts)
    return Tensor(name, form.kind, form.shape, blake3(data.data).digest(), keys)
