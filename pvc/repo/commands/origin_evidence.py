"""Evidence of what a result was trained from: the base, or HEAD's tree, element by element.

Training leaves most elements of a bf16 checkpoint as they were, and all of a frozen tensor.  So of
the elements in which the base and HEAD differ, a result has many of the one's and next to none of
the other's, if its numbers were written in place.  Runs with fp32 master weights move all of them,
and tell nothing; nor do distances, since a run that unlearns is nearer to the base than to HEAD,
which it began at.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pvc import parallel
from pvc.codec.numbers import float_type, is_real, to_numbers
from pvc.wording import number

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from pvc.parallel import Crew, Stop
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tensor, Tree

RATIO = 20
"""How many times more elements of the one than of the other decide."""

LEAST_ELEMENTS = 100
"""Fewer equal elements than this decide nothing."""

WHOLE_SHARE = 0.01
"""Tensors that are the one's bit for bit decide, if they hold this share of what differs."""

PARALLEL = 0.9
"""A change of this cosine with HEAD's, and shorter, may as well be HEAD, unlearned a little."""

SAMPLE_ELEMENTS = 1 << 12
"""The cosine is taken from the first elements of each block."""


class Side(enum.Enum):
    """Where a result began."""

    BASE = "base"
    HEAD = "HEAD"


@dataclass(frozen=True, slots=True)
class Evidence:
    """Counts of elements in which the base and HEAD differ, and sums over a sample of all.

    Attributes:
        differing: how many differ.
        like_base: those in which the result is bit for bit the base.
        like_head: those in which it is HEAD.
        whole_base: those in tensors that are the base's as a whole.
        whole_head: those in tensors that are HEAD's.
        result_square: sum of the squares of the result's difference from the base.
        head_square: the same of HEAD's difference.
        product: sum of the products of both differences.
    """

    differing: int = 0
    like_base: int = 0
    like_head: int = 0
    whole_base: int = 0
    whole_head: int = 0
    result_square: float = 0.0
    head_square: float = 0.0
    product: float = 0.0

    def __str__(self) -> str:
        base, head = (_percent(count, self.differing) for count in (self.like_base, self.like_head))
        return (
            f"of {number(self.differing)} elements in which the base and HEAD differ, {base} are "
            f"the base's and {head} HEAD's"
        )

    def nearness(self) -> float:
        """The distance from HEAD, relative to that from the base."""
        rest = self.result_square - 2 * self.product + self.head_square
        return math.sqrt(max(rest, 0.0) / self.result_square) if self.result_square else 0.0

    def side(self) -> Side | None:
        """Where the result began, if it is certain or at least 20 to 1; else None."""
        for here, there, whole, other, side in (
            (self.like_head, self.like_base, self.whole_head, self.whole_base, Side.HEAD),
            (self.like_base, self.like_head, self.whole_base, self.whole_head, Side.BASE),
        ):
            counted = here >= max(RATIO * there, LEAST_ELEMENTS)
            certain = not other and whole >= max(WHOLE_SHARE * self.differing, LEAST_ELEMENTS)
            if (counted or certain) and not (side is Side.BASE and self.lies_between()):
                return side
        return None

    def lies_between(self) -> bool:
        """Whether the result lies between the base and HEAD: less of what HEAD learned.

        Rounding makes many of its elements the base's, whichever of both it began at.
        """
        norms = math.sqrt(self.result_square * self.head_square)
        return PARALLEL * norms < self.product < self.head_square


def _percent(count: int, whole: int) -> str:
    return f"{100 * count / whole:.2g} %" if whole else "0 %"


def weigh(base: Tree, head: Tree, result: Tree, blocks: Blocks, crew: Crew) -> Evidence:
    """Compare a result with the base and with HEAD.

    Args:
        base: what a vector is relative to.
        head: HEAD's tree, which differs.
        result: the tree of a training result.
        blocks: gives the blocks of all three.
        crew: threads, and who is shown the progress.

    Raises:
        DamageError, MissingError: a block is missing or damaged.
    """
    triples = [
        (base[name], head[name], tensor)
        for name, tensor in result.items()
        if name in base and name in head and _alike(base[name], head[name], tensor)
    ]
    crew.progress.start("Comparing", sum(tensor.nbytes for _, _, tensor in triples))
    found: list[Evidence] = []

    def one(triple: tuple[Tensor, Tensor, Tensor], stop: Stop) -> None:
        parts = []
        for index in range(triple[2].block_count):
            stop.check()
            parts.append(_block(triple, index, blocks))
            crew.progress.advance(triple[2].block_length(index))
        found.append(_whole(total(parts), triple))

    parallel.run(sorted(triples, key=lambda triple: -triple[2].nbytes), one, crew.threads)
    return total(found)


def _alike(*tensors: Tensor) -> bool:
    """Whether tensors can be compared number by number."""
    return len({tensor.shape for tensor in tensors}) == 1 and all(is_real(t.kind) for t in tensors)


def _block(triple: tuple[Tensor, Tensor, Tensor], index: int, blocks: Blocks) -> Evidence:
    base, head, result = triple
    same_kind = base.kind == head.kind == result.kind
    if same_kind and base.key(index) == head.key(index) == result.key(index):
        return Evidence()
    raws = [_raw(tensor, index, result, blocks, role) for role, tensor in enumerate(triple)]
    numbers = [_numbers(raw, tensor, triple) for raw, tensor in zip(raws, triple, strict=True)]
    words = [raw.view(f"<u{result.kind.bits // 8}") for raw in raws] if same_kind else numbers
    differs = words[0] != words[1]
    tau, step = (
        (numbers[at][:SAMPLE_ELEMENTS].astype(np.float64) - numbers[0][:SAMPLE_ELEMENTS])
        for at in (2, 1)
    )
    finite = np.isfinite(tau) & np.isfinite(step)
    tau, step = tau[finite], step[finite]
    return Evidence(
        differing=int(np.count_nonzero(differs)),
        like_base=int(np.count_nonzero(differs & (words[2] == words[0]))),
        like_head=int(np.count_nonzero(differs & (words[2] == words[1]))),
        result_square=float(tau @ tau),
        head_square=float(step @ step),
        product=float(tau @ step),
    )


def _raw(
    tensor: Tensor, index: int, result: Tensor, blocks: Blocks, role: int
) -> NDArray[np.uint8]:
    """The bytes of those elements of a tensor that are in a block of the result."""
    count = result.block_length(index) * 8 // result.kind.bits
    start = index * (result.block_length(0) * 8 // result.kind.bits)
    length = count * tensor.kind.bits // 8
    out = blocks.buffer(f"origin {role}", length)
    at, piece = start * tensor.kind.bits // 8, tensor.block_length(0)
    for done in range(0, length, piece):
        part = out[done : done + piece]
        part[:] = blocks.elements(tensor, at + done, len(part))
    return out


def _numbers(
    raw: NDArray[np.uint8], tensor: Tensor, triple: tuple[Tensor, ...]
) -> NDArray[np.floating]:
    kinds = {each.kind for each in triple}
    out = np.empty(len(raw) * 8 // tensor.kind.bits, float_type(*kinds))
    to_numbers(raw, tensor.kind, out)
    return out


def _whole(sums: Evidence, triple: tuple[Tensor, Tensor, Tensor]) -> Evidence:
    """The evidence of one tensor, with what it says as a whole."""
    base, head, result = triple
    is_base, is_head = (
        result.digest == one.digest if result.kind == one.kind else like == sums.differing
        for one, like in ((base, sums.like_base), (head, sums.like_head))
    )
    return replace(
        sums,
        whole_base=sums.differing if is_base else 0,
        whole_head=sums.differing if is_head else 0,
    )


def total(parts: Iterable[Evidence]) -> Evidence:
    """The sum of evidence."""
    listed = list(parts)
    return Evidence(
        differing=sum(one.differing for one in listed),
        like_base=sum(one.like_base for one in listed),
        like_head=sum(one.like_head for one in listed),
        whole_base=sum(one.whole_base for one in listed),
        whole_head=sum(one.whole_head for one in listed),
        result_square=math.fsum(one.result_square for one in listed),
        head_square=math.fsum(one.head_square for one in listed),
        product=math.fsum(one.product for one in listed),
    )
