"""The tensors of a worker that are not direct: why, and which of them its loader can change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from blake3 import blake3

from pvc.live.protocol.applied import unknown
from pvc.live.pytorch.placing import DTYPE_OF
from pvc.live.vllm.loader.grouping import groups
from pvc.live.vllm.loader.original import Original
from pvc.live.vllm.loader.refilling import OtherBytesLoadedError, Refiller, RefillError
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from pvc.live.vllm.loader.framework import Framework
    from pvc.live.vllm.loader.grouping import LoaderGroup
    from pvc.live.vllm.tracing.trace import Described
    from pvc.weights.header import TensorPlace
    from pvc.weights.reader import CheckpointReader

    Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Lost:
    """Tensors that do not lie in a worker as in the checkpoint.

    Attributes:
        reasons: tensor -> why.
        bound: those with which something computes that nobody knows of.
    """

    reasons: Mapping[str, str]
    bound: frozenset[str]


@dataclass(frozen=True)
class Indirect:
    """The tensors that are not direct.

    Attributes:
        reasons: tensor -> why it is not.
        final: those that cannot be changed in any way.
        loaded: tensor -> what was loaded, as a tree has it, or `unknown`.
        groups: those that the loader can change.
        refiller: does that.
    """

    reasons: Mapping[str, str] = field(default_factory=dict)
    final: frozenset[str] = frozenset()
    loaded: Mapping[str, Tensor] = field(default_factory=dict)
    groups: tuple[LoaderGroup, ...] = ()
    refiller: Refiller | None = None


class LoaderMemory:
    """The tensors of a checkpoint, whole.

    Args:
        reader: reads it.
        places: its tensors.
    """

    def __init__(self, reader: CheckpointReader, places: Mapping[str, TensorPlace]) -> None:
        self._reader = reader
        self.places = places

    def content(self, name: str) -> torch.Tensor:
        """A tensor, in memory of its own."""
        return as_tensor(self._bytes(name), self.places[name])

    def stored(self, name: str) -> Tensor:
        """A tensor, as a tree has it."""
        return as_stored(name, self._bytes(name), self.places[name])

    def _bytes(self, name: str) -> Bytes:
        data = np.empty(self.places[name].nbytes, np.uint8)
        self._reader.read_into(self.places[name], 0, data)
        return data


def as_tensor(data: Bytes, form: Described) -> torch.Tensor:
    """A tensor of a form, in the memory of its bytes."""
    dtype = DTYPE_OF[form.kind.name]
    if not len(data):
        return torch.empty(form.shape, dtype=dtype)
    return torch.from_numpy(data).view(dtype).reshape(form.shape)


def as_stored(name: str, data: Bytes, form: Described) -> Tensor:
    """What a tree has of a tensor."""
    starts = range(0, len(data), BLOCK_BYTES)
    keys = b"".join(block_key(data[start : start + BLOCK_BYTES].data) for start in starts)
    return Tensor(name, form.kind, form.shape, blake3(data.data).digest(), keys)


def find(
    model: torch.nn.Module,
    framework: Framework | None,
    original: Original | None,
    loaded: LoaderMemory,
    lost: Lost,
) -> Indirect:
    """Find out which tensors the loader can change; each group is tried out with what was loaded.

    Args:
        model: the model, as it is in the engine.
        framework: what it runs in; None if that cannot load anything once more.
        original: the model before it was loaded, if that is known already.
        loaded: what was loaded.
        lost: the tensors that it is about.
    """
    reasons = lost.reasons
    if not reasons:
        return Indirect()
    stored = {name: loaded.stored(name) for name in reasons}
    if framework is None:
        return Indirect(reasons, frozenset(reasons), stored)
    original = original or Original.of(model, loaded.places, framework)
    refiller = Refiller(model, framework, original)
    found: list[LoaderGroup] = []
    told = dict(reasons)
    for group in groups(model, original.trace, reasons, framework.is_worked_on):
        try:
            if lost.bound & set(group.tensors):
                raise RefillError(group.tensors, "something computes with a copy of it")
            refiller.check(group, loaded.content)
        except RefillError as error:
            both = {name: f"{told[name]}; {error}" for name in group.tensors if name in told}
            told.update({name: text.rstrip(".") for name, text in both.items()})
            if isinstance(error, OtherBytesLoadedError):
                stored.update({name: unknown(stored[name]) for name in both})
        else:
            found.append(group)
    changeable = {name for group in found for name in group.tensors}
    stored.update({name: loaded.stored(name) for name in changeable - stored.keys()})
    return Indirect(told, frozenset(told.keys() - changeable), stored, tuple(found), refiller)
