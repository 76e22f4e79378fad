"""The taus of vectors, block by block, as numbers.

A place is a block of the base; every vector has elements there, perhaps in a wider float type.
Arrays belong to the thread; what a method returns is valid until the thread's next call with the
same slot.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec.elements import Words, as_numbers
from pvc.codec.numbers import Floats, to_numbers, upper_words
from pvc.merge import arithmetic
from pvc.merge.method import Facts, TauBlock
from pvc.repo.personality.formula import FormulaPart, Link, Mix, Operand, identity, links
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from pvc.repo.trees.blocks import Blocks
    from pvc_store.kinds import Kind
    from pvc_store.tree import Tensor, Tree


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """Where numbers are computed.

    Attributes:
        tensor: the tensor, as the base has it.
        index: which block of it.
        dtype: what it is computed in.
    """

    tensor: Tensor
    index: int
    dtype: np.dtype[np.floating[Any]]

    @property
    def size(self) -> int:
        """Elements of the block."""
        return self.nbytes * 8 // self.tensor.kind.bits

    @property
    def first(self) -> int:
        """Index of the block's first element in the tensor."""
        return self.index * (BLOCK_BYTES * 8 // self.tensor.kind.bits)

    @property
    def nbytes(self) -> int:
        """Bytes of the block, as the base has it."""
        return self.tensor.block_length(self.index)


@dataclass(frozen=True, slots=True)
class TrimFacts:
    """What was found of the taus of a combination that trims.

    Attributes:
        thresholds: for each of its parts, the least |tau| that is kept.
        majority: the sign where votes add up to 0, 1 or -1; by the authors' rule the elected sign
            of most elements.
        elements: elements of the model.
        kept: for each part, how many elements are kept and not 0.
        outvoted: for each part, how many of those have the losing sign.
        conflicts: for each two parts, how many elements are kept of both, with opposite signs.
        tensors: by name, thresholds of tensors that are trimmed by themselves.
    """

    thresholds: tuple[float, ...]
    majority: int
    elements: int
    kept: tuple[int, ...]
    outvoted: tuple[int, ...]
    conflicts: tuple[tuple[int, ...], ...]
    tensors: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def of(self, tensor: str) -> tuple[float, ...]:
        """For each part, the least |tau| that is kept in a tensor."""
        return self.tensors.get(tensor, self.thresholds)

    def facts(self, tensor: str) -> Facts:
        """What the kernel gets for a block of a tensor."""
        return Facts(self.of(tensor), self.majority)


NO_FACTS = Facts()


class _Arrays(threading.local):
    """One thread's arrays, by slot.

    Attributes:
        origin: what `words` are of: the vectors of a combination often start at one tree.
        words: elements in the slot "from".
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, int, str], Floats] = {}
        self.origin: tuple[object, ...] = ()
        self.words: Words = np.empty(0, np.int8)

    def get(self, slot: str, rows: int, place: BlockPlace) -> Floats:
        key = slot, rows, place.dtype.char
        size = rows * (BLOCK_BYTES * 8 // place.tensor.kind.bits)
        if key not in self._held or self._held[key].size < size:
            self._held[key] = np.empty(size, place.dtype)
        return self._held[key][: rows * place.size]


class Taus:
    """Computes taus; safe for several threads.

    Args:
        blocks: raw blocks of stored trees.
        tree: the tree of an id.
        facts: what was found for each combination whose method needs facts.
    """

    def __init__(
        self, blocks: Blocks, tree: Callable[[bytes], Tree], facts: Mapping[Mix, TrimFacts]
    ) -> None:
        self._blocks = blocks
        self.tree = cache(tree)
        self._facts = facts
        self._identity = cache(identity)
        self._arrays = _Arrays()

    def kind(self, tree: bytes, name: str) -> Kind:
        """The kind of a tensor in a tree."""
        return self.tree(tree)[name].kind

    def changes(self, operand: Operand, name: str) -> bool:
        """Whether a vector may change a tensor."""
        return any(
            self.tree(link.from_tree)[name] != self.tree(link.to_tree)[name]
            for link in links(operand)
        )

    def numbers(self, tensor: Tensor, place: BlockPlace, slot: str) -> Floats:
        """The elements of a stored tensor at a place, exactly.

        Raises:
            MissingError, DamageError: a block is missing or damaged.
        """
        out = self._arrays.get(slot, 1, place)
        ratio = tensor.kind.bits // place.tensor.kind.bits
        first = place.index * ratio
        done = 0
        for index in range(first, min(first + ratio, tensor.block_count)):
            raw = self._blocks.elements(tensor, index * BLOCK_BYTES, tensor.block_length(index))
            count = len(raw) * 8 // tensor.kind.bits
            to_numbers(raw, tensor.kind, out[done : done + count])
            done += count
        return out

    def tau(self, operand: Operand, place: BlockPlace, slot: str = "tau") -> Floats | None:
        """The tau of a vector at a place; None where nothing changes.

        Raises:
            MissingError, DamageError: a block is missing or damaged.
        """
        out = self._arrays.get(slot, 1, place)
        return out if self._fill(operand, place, slot, out) else None

    def _fill(self, operand: Operand, place: BlockPlace, slot: str, out: Floats) -> bool:
        """Write the tau of a vector at a place; false where nothing changes."""
        if isinstance(operand, Link):
            return self._captured(operand, place, out)
        taus = self.stack(operand.parts, place, slot)
        if taus is None:
            return False
        parts, rule, name = operand.parts, operand.rule, place.tensor.name
        scales = np.array([part.scale for part in parts])
        facts = NO_FACTS if rule.facts is None else self._facts[operand].facts(name)
        block = TauBlock(
            taus, scales, name, place.first, lambda row: self._identity(parts[row].operand), facts
        )
        rule.method.kernel(block, rule, out)
        return True

    def stack(
        self, parts: tuple[FormulaPart, ...], place: BlockPlace, slot: str
    ) -> NDArray[np.floating[Any]] | None:
        """The taus of several vectors at a place, one in each row; None where all are zero."""
        rows = self._arrays.get(f"{slot} rows", len(parts), place).reshape(len(parts), place.size)
        changed = False
        for row, part in zip(rows, parts, strict=True):
            if self._fill(part.operand, place, f"{slot}.", row):
                changed = True
            else:
                row[:] = 0
        return rows if changed else None

    def _captured(self, link: Link, place: BlockPlace, out: Floats) -> bool:
        name = place.tensor.name
        before, after = self.tree(link.from_tree)[name], self.tree(link.to_tree)[name]
        if _same_block(before, after, place):
            return False
        result = self._words(after, place, "to")
        arithmetic.difference(result, self._origin(before, place), out)
        return True

    def _origin(self, before: Tensor, place: BlockPlace) -> Words:
        arrays = self._arrays
        wanted = before.digest, before.kind, place
        if arrays.origin != wanted:
            arrays.origin = ()
            arrays.words = self._words(before, place, "from")
            arrays.origin = wanted
        return arrays.words

    def _words(self, tensor: Tensor, place: BlockPlace, slot: str) -> Words:
        """The elements of a stored tensor at a place, as words; see `arithmetic.difference`."""
        if tensor.kind.bits == place.tensor.kind.bits:
            raw = self._blocks.buffer(slot, tensor.block_length(place.index))
            words = upper_words(raw, tensor.kind, place.dtype)
            if words is not None:
                self._blocks.read(tensor, place.index, raw)
                return words
        numbers = self.numbers(tensor, place, slot)
        return as_numbers(numbers.view(np.uint8), np.dtype(f"<i{numbers.itemsize}"))


def _same_block(before: Tensor, after: Tensor, place: BlockPlace) -> bool:
    if before.kind != after.kind:
        return False
    if before.keys == after.keys:
        return True
    ratio = after.kind.bits // place.tensor.kind.bits
    first = place.index * ratio
    indices = range(first, min(first + ratio, after.block_count))
    return all(before.key(index) == after.key(index) for index in indices)
