"""`pvc diff` of two vectors: norms, cosine and conflicts by tensor, layer or role.

Every number is a sum over the tensors of floats; other tensors have no tau.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from pvc import parallel
from pvc.codec.numbers import float_type, from_numbers, is_real, keep_untouched
from pvc.merge import arithmetic, geometry
from pvc.merge.geometry import Pair
from pvc.merge.methods import SUM
from pvc.repo.build.merge_facts import MergeFacts
from pvc.repo.build.taus import BlockPlace, Taus
from pvc.repo.commands.groups import grouped
from pvc.repo.history.revision import resolve
from pvc.repo.personality.formula import Mix, links

if TYPE_CHECKING:
    from pvc.codec.numbers import Floats
    from pvc.parallel import Crew, Stop
    from pvc.repo.personality.formula import Operand
    from pvc.repo.repository import Repository
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tensor


@dataclass(frozen=True, slots=True)
class Relation:
    """Two vectors in one group of tensors.

    Attributes:
        label: the role, layer or tensor.
        pair: sums and counts.
        effective_a: elements of base + a that differ from the base's, once rounded to its kind.
        effective_b: the same for b.
    """

    label: str
    pair: Pair
    effective_a: int
    effective_b: int


@dataclass(frozen=True, slots=True)
class Relations:
    """Two vectors compared.

    Attributes:
        a: the first, as a revision.
        b: the second.
        group: "role", "layer" or "tensor".
        rows: one per group, in the order of `grouping.grouped`.
        total: all of them together.
    """

    a: str
    b: str
    group: str
    rows: tuple[Relation, ...]
    total: Relation


def relate(
    repository: Repository, before: str, after: str, group: str, crew: Crew
) -> Relations | None:
    """Compare two vectors, or sums of vectors.

    Args:
        repository: where.
        before: the first, as a revision.
        after: the second.
        group: one of `groups.GROUPS`.
        crew: threads, and who is shown the progress.

    Returns:
        None if one of them is no vector.

    Raises:
        MissingError, DamageError: a block is missing or damaged.
    """
    a, b = resolve(repository, before), resolve(repository, after)
    if not (a.is_tau and b.is_tau):
        return None
    config = repository.head().config
    trees = cache(repository.store.tree)
    with repository.blocks(config) as blocks:
        trims = MergeFacts(repository.folder, blocks, trees, crew)
        operands = tuple(Mix(SUM, found.added) for found in (a, b))
        for operand in operands:
            trims.add(operand)
        run = _Run(blocks, trims.taus, operands, crew)
        found = run.all()
    rows = tuple(_sum(label, members) for label, members in grouped(found, group))
    return Relations(a.text, b.text, group, rows, _sum("total", list(found.values())))


def _sum(label: str, members: list[Relation]) -> Relation:
    return Relation(
        label,
        sum((one.pair for one in members), start=Pair(0)),
        sum(one.effective_a for one in members),
        sum(one.effective_b for one in members),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """Both vectors, tensor by tensor."""

    blocks: Blocks
    taus: Taus
    operands: tuple[Operand, ...]
    crew: Crew

    def all(self) -> dict[str, Relation]:
        """Every tensor of floats, sorted by name."""
        tensors = [tensor for tensor in self.blocks.base.values() if is_real(tensor.kind)]
        self.crew.progress.start("Comparing", sum(tensor.nbytes for tensor in tensors))
        found: dict[str, Relation] = {}

        def one(tensor: Tensor, stop: Stop) -> None:
            found[tensor.name] = self._tensor(tensor, stop)

        parallel.run(sorted(tensors, key=lambda t: -t.nbytes), one, self.crew.threads)
        return dict(sorted(found.items()))

    def _tensor(self, tensor: Tensor, stop: Stop) -> Relation:
        kinds = [
            self.taus.kind(tree, tensor.name)
            for operand in self.operands
            for link in links(operand)
            for tree in (link.from_tree, link.to_tree)
        ]
        dtype = float_type(tensor.kind, *kinds)
        rows: list[Relation] = []
        for index in range(tensor.block_count):
            stop.check()
            rows.append(self._block(BlockPlace(tensor, index, dtype)))
            self.crew.progress.advance(tensor.block_length(index))
        return _sum(tensor.name, rows)

    def _block(self, place: BlockPlace) -> Relation:
        a, b = (
            self.taus.tau(operand, place, slot)
            for operand, slot in zip(self.operands, "ab", strict=True)
        )
        pair = geometry.compare(a, b, place.size)
        name = place.tensor.name
        return Relation(name, pair, self._effective(a, place), self._effective(b, place))

    def _effective(self, tau: Floats | None, place: BlockPlace) -> int:
        """How many elements of the base are others once the tau is added."""
        if tau is None:
            return 0
        tensor, blocks = place.tensor, self.blocks
        acc = self.taus.numbers(tensor, place, "acc")
        touched = blocks.buffer("touched", place.size)
        touched[:] = 0
        arithmetic.add(acc, 1.0, tau, touched)
        out = blocks.buffer("computed", tensor.block_length(place.index))
        from_numbers(acc, tensor.kind, out)
        base = blocks.base_block(tensor, place.index)
        keep_untouched(base, tensor.kind, touched, out)
        width = np.dtype(f"u{tensor.kind.bits // 8}")
        return int(np.count_nonzero(out.view(width) != base.view(width)))
