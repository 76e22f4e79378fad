"""An update of an engine's weights: which blocks change, from which keys to which.

The stage has the new blocks in the order of the update, each at a multiple of ALIGNMENT bytes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.live.protocol.engine_state import ContentLabel
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pvc.strict_json import Fields
    from pvc_store.tree import Tensor

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class TensorUpdate:
    """The blocks of one tensor that change.

    Attributes:
        name: the tensor.
        kind: name of its numeric kind.
        shape: its dimensions.
        indices: which blocks, ascending.
        before: their keys before the update, 16 bytes each.
        after: their keys after it.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    indices: tuple[int, ...]
    before: bytes
    after: bytes

    @classmethod
    def between(cls, before: Tensor, after: Tensor) -> TensorUpdate:
        """The blocks in which two tensors of one form differ."""
        pairs = range(after.block_count)
        return cls._of(before, after, [one for one in pairs if before.key(one) != after.key(one)])

    @classmethod
    def whole(cls, before: Tensor, after: Tensor) -> TensorUpdate:
        """All blocks of two tensors of one form."""
        return cls._of(before, after, range(after.block_count))

    @classmethod
    def _of(cls, before: Tensor, after: Tensor, chosen: Iterable[int]) -> TensorUpdate:
        indices = tuple(chosen)
        return cls(
            after.name,
            after.kind.name,
            after.shape,
            indices,
            b"".join(map(before.key, indices)),
            b"".join(map(after.key, indices)),
        )

    def blocks(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Index, key before and key after of each block."""
        for at, index in enumerate(self.indices):
            part = slice(at * KEY_BYTES, (at + 1) * KEY_BYTES)
            yield index, self.before[part], self.after[part]

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        return {
            "name": self.name,
            "kind": self.kind,
            "shape": self.shape,
            "indices": self.indices,
            "before": self.before.hex(),
            "after": self.after.hex(),
        }

    @classmethod
    def parse(cls, fields: Fields) -> TensorUpdate:
        """Read the form in messages."""
        name, kind, shape = fields.text("name"), fields.text("kind"), fields.numbers("shape")
        indices = fields.numbers("indices")
        length = len(indices) * KEY_BYTES
        found = cls(
            name, kind, shape, indices, fields.raw("before", length), fields.raw("after", length)
        )
        fields.finish()
        if any(one >= two for one, two in itertools.pairwise(indices)):
            raise fields.wrong(f"blocks of the tensor {name} are out of order")
        return found


@dataclass(frozen=True, slots=True)
class WeightUpdate:
    """All blocks that change at once.

    Attributes:
        origin: where the engine's weights come from after the update.
        generation: the engine's, when the client looked.
        stamp: the engine's, when the client looked.
        take: whether an engine that another repository wrote to may be taken over.
        tensors: the tensors with blocks that differ.
    """

    origin: ContentLabel
    generation: int
    stamp: int
    take: bool
    tensors: tuple[TensorUpdate, ...]

    def to_json(self) -> dict[str, Any]:
        """Its form in messages."""
        return {
            **self.origin.to_json(),
            "generation": self.generation,
            "stamp": self.stamp,
            "take": self.take,
            "tensors": [tensor.to_json() for tensor in self.tensors],
        }

    @classmethod
    def parse(cls, fields: Fields) -> WeightUpdate:
        """Read the form in messages."""
        found = cls(
            ContentLabel.parse(fields),
            fields.number("generation"),
            fields.number("stamp"),
            fields.flag("take"),
            tuple(map(TensorUpdate.parse, fields.parts("tensors"))),
        )
        fields.finish()
        return found


def offsets(lengths: Iterator[int]) -> Iterator[tuple[int, int]]:
    """Where blocks of some lengths lie in a stage: first byte and length of each."""
    at = 0
    for length in lengths:
        yield at, length
        at += -(-length // ALIGNMENT) * ALIGNMENT


def lengths(change: WeightUpdate, nbytes: dict[str, int]) -> Iterator[int]:
    """Lengths of the blocks of an update, in its order, given the bytes of each tensor."""
    for tensor in change.tensors:
        for index in tensor.indices:
            yield min(BLOCK_BYTES, nbytes[tensor.name] - index * BLOCK_BYTES)


def stage_bytes(change: WeightUpdate, nbytes: dict[str, int]) -> int:
    """Bytes of the stage of an update."""
    return sum(-(-length // ALIGNMENT) * ALIGNMENT for length in lengths(change, nbytes))
