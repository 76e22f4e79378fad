"""The dtypes of what is checked out.

One rule: what was committed comes back as it was, be it in wider floats than the base's; whatever
is computed, sums among it, has the base's.  `--dtype` brings the first to the base's too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from pvc import parallel
from pvc.codec.numbers import is_real
from pvc.errors import PvcError
from pvc.repo.trees.rounded_elements import as_float64, can_round
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.parallel import Crew, Stop
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.formula import Formula
    from pvc.repo.repository import Repository
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tensor, Tree

OWN = "base"
PIECE = BLOCK_BYTES // 8
"""Elements at a time: whatever they are converted to is at most a block."""
_OTHER_NAMES = {"BFLOAT16": "BF16", "FLOAT16": "F16", "FP16": "F16", "HALF": "F16",
                "FLOAT32": "F32", "FP32": "F32", "FLOAT64": "F64", "FP64": "F64"}  # fmt: skip


class OtherDtypeError(PvcError):
    """Weights are wanted in a dtype that the base does not have.

    Attributes:
        wanted: the dtype.
        found: the float dtypes of the base.
    """

    def __init__(self, wanted: str, found: tuple[str, ...]) -> None:
        self.wanted = wanted
        self.found = found
        super().__init__(
            f"Weights cannot be written as {wanted}: the base's floats are {' and '.join(found)}."
        )


@dataclass(frozen=True, slots=True)
class CheckoutDtypes:
    """How weights got their dtypes, where they might have had others.

    Attributes:
        rule: "committed" for dtypes wider than the base's, "computed" for a sum that wider ones
            went into, "rounded" for wider ones that were rounded to the base's.
        written: the float dtypes that were written.
        other: those that the base has, or that went into it.
        kept: "rounded" only: which share of the change survived, as the projection of the rounded
            change on the exact one; None if nothing was changed.
    """

    rule: str
    written: tuple[str, ...]
    other: tuple[str, ...]
    kept: float | None = None


def check_dtype(base: Tree, wanted: str) -> None:
    """Make sure that weights can be written in a dtype.

    Raises:
        OtherDtypeError: the base has others.
    """
    found, name = _floats([base]), wanted.upper()
    if wanted != OWN and found != (_OTHER_NAMES.get(name, name),):
        raise OtherDtypeError(wanted, found)


def dtypes_of(
    repository: Repository, config: Config, formula: Formula, written: bytes, crew: Crew
) -> CheckoutDtypes | None:
    """Which rule gave a tree its dtypes; None if it could have no others.

    Args:
        repository: where.
        config: names the base.
        formula: what was checked out.
        written: the tree that it came to.
        crew: compares weights that were rounded.
    """
    store = repository.store
    if written == formula.base:
        return None
    base, tree = store.tree(formula.base), store.tree(written)
    own = _floats([base])
    if formula.exact is not None:
        kinds = _floats([tree])
        return CheckoutDtypes("committed", kinds, own) if kinds != own else None
    ends = {formula.start.tree, *(link.to_tree for link in formula.links)}
    kinds = _floats([store.tree(one) for one in ends if one != formula.base])
    if set(kinds) <= set(own):
        return None
    if not formula.rounded:
        return CheckoutDtypes("computed", _floats([tree]), kinds)
    with repository.blocks(config) as blocks:
        kept = _kept(store.tree(formula.start.tree), blocks, crew)
    return CheckoutDtypes("rounded", _floats([tree]), kinds, kept)


def _floats(trees: Iterable[Tree]) -> tuple[str, ...]:
    kinds = {tensor.kind for tree in trees for tensor in tree.values()}
    return tuple(sorted(kind.name for kind in kinds if is_real(kind)))


def _kept(exact: Tree, blocks: Blocks, crew: Crew) -> float | None:
    """<r, m> / <m, m> for the change m from the base, and r, which it becomes by rounding.

    The exact weights are rounded once more: those that went to a new directory are not stored.
    """
    pairs = [
        (blocks.base[name], tensor) for name, tensor in exact.items() if name in blocks.base
    ]  # fmt: skip
    pairs = [(base, tensor) for base, tensor in pairs if can_round(base, tensor)]
    crew.progress.start("Comparing", sum(tensor.nbytes for _, tensor in pairs))
    products: list[float] = []
    squares: list[float] = []

    def one(pair: tuple[Tensor, Tensor], stop: Stop) -> None:
        base, tensor = pair
        for at in range(0, prod(tensor.shape), PIECE):
            stop.check()
            count = min(PIECE, prod(tensor.shape) - at)
            start = as_float64(blocks, base, at, count, base.kind)
            m = as_float64(blocks, tensor, at, count, tensor.kind) - start
            r = as_float64(blocks, tensor, at, count, base.kind) - start
            both = np.isfinite(m) & np.isfinite(r)
            products.append(float(r[both] @ m[both]))
            squares.append(float(m[both] @ m[both]))
            crew.progress.advance(count * tensor.kind.bits // 8)

    parallel.run(sorted(pairs, key=lambda pair: -pair[1].nbytes), one, crew.threads)
    whole = math.fsum(squares)
    return math.fsum(products) / whole if whole else None
