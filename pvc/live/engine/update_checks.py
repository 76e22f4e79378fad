"""Checks of an update against an engine, which the process that clients talk to and ranks make."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pvc.errors import PvcError
from pvc.live.memory.host import key_of
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pvc.live.memory.host import Memory
    from pvc.live.protocol.manifest import LiveTensor, Manifest
    from pvc.live.protocol.update import TensorUpdate, WeightUpdate


class RejectedTensorError(PvcError):
    """An update changes a tensor in a way that the engine cannot follow.

    Attributes:
        name: the tensor.
        detail: what was found and what was expected.
    """

    def __init__(self, name: str, detail: str) -> None:
        self.name = name
        self.detail = detail
        super().__init__(f"The tensor {name} cannot be changed in this engine: {detail}.")


class MovedOnError(PvcError):
    """The engine does not hold the weights that the update is to replace.

    Attributes:
        detail: what differs.
    """

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(f"The engine holds something else than the client thinks: {detail}.")


def check_fits(change: WeightUpdate, manifest: Manifest) -> None:
    """Make sure that an update has an engine's tensors, of its kinds and shapes.

    Raises:
        RejectedTensorError: it has not.
    """
    for tensor in change.tensors:
        _check_tensor(tensor, manifest)
    changes = {tensor.name: tensor for tensor in change.tensors}
    for group in manifest.ties:
        found = [changes[name] for name in group if name in changes]
        for one in found[1:]:
            if (one.indices, one.after) != (found[0].indices, found[0].after):
                detail = f"it is one with {found[0].name} in memory, and not in the new tree"
                raise RejectedTensorError(one.name, detail)


def check_staged(name: str, found: bytes, expected: bytes) -> None:
    """Make sure that staged blocks of a tensor have the keys that the update names.

    Raises:
        RejectedTensorError: they have not.
    """
    if found != expected:
        raise RejectedTensorError(name, "the bytes staged for it are not what their key says")


def check_before(tensor: LiveTensor, index: int, key: bytes, memories: Sequence[Memory]) -> None:
    """Make sure that a block is the one that an update is to replace.

    Raises:
        MovedOnError: it is another one.
    """
    if key_of(tensor, index, memories, np.empty(BLOCK_BYTES, np.uint8)) != key:
        raise MovedOnError(f"{tensor.name} has other bytes")


def _check_tensor(change: TensorUpdate, manifest: Manifest) -> None:
    tensor = manifest.tensors.get(change.name)
    if tensor is None:
        raise RejectedTensorError(change.name, "the engine has none of this name")
    if (tensor.kind.name, tensor.shape) != (change.kind, change.shape):
        found = f"{tensor.kind.name} {list(tensor.shape)}"
        detail = f"it is {found} there, and {change.kind} {list(change.shape)} in the new tree"
        raise RejectedTensorError(change.name, detail)
    if not tensor.direct and tensor.name not in manifest.grouped:
        raise RejectedTensorError(change.name, "its bytes lie there in another form")
    if change.indices and change.indices[-1] >= tensor.block_count:
        detail = f"it has {tensor.block_count} blocks, and block {change.indices[-1]} is named"
        raise RejectedTensorError(change.name, detail)
