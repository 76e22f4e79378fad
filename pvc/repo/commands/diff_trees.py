"""`pvc diff` of two sets of weights: changes by tensor, layer or role."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.commands.groups import grouped
from pvc.repo.history.revision import BASE, Revision, resolve
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.trees.changes import TensorChange, compare, total

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.parallel import Crew
    from pvc.repo.repository import Repository


class MixedError(PvcError):
    """Weights cannot be compared with a vector.

    Attributes:
        revision: what names a tree.
        vector: what names a vector.
    """

    def __init__(self, revision: str, vector: str) -> None:
        self.revision = revision
        self.vector = vector
        super().__init__(
            f"{revision} is a set of weights and {vector} is a vector; they differ in kind."
        )


@dataclass(frozen=True, slots=True)
class Row:
    """The changes in one group of tensors.

    Attributes:
        label: the role, layer or tensor.
        tensors: number of tensors.
        changed_tensors: how many of them changed in any way.
        elements: elements of the tensors.
        changed_elements: how many have another value.
        blocks: blocks of the tensors.
        changed_blocks: how many differ.
        tau_norm: Euclidean norm of the difference.
        from_norm: Euclidean norm of what it is measured from.
        sorts: "added", "removed" and "reshaped", as far as they occur.
    """

    label: str
    tensors: int
    changed_tensors: int
    elements: int
    changed_elements: int
    blocks: int
    changed_blocks: int
    tau_norm: float
    from_norm: float
    sorts: tuple[str, ...]

    @property
    def relative_norm(self) -> float:
        """Norm of the difference over the norm of what it is measured from; 0 where that is 0."""
        return self.tau_norm / self.from_norm if self.from_norm else 0.0


@dataclass(frozen=True, slots=True)
class TreeDifference:
    """The changes from one set of weights to another.

    Attributes:
        before: the revision that changes are measured from.
        after: the revision that they lead to.
        group: "role", "layer" or "tensor".
        rows: one per group; roles and tensors by name, layers by number, what is in no layer last.
        total: all of them together.
    """

    before: str
    after: str
    group: str
    rows: tuple[Row, ...]
    total: Row


def diff(
    repository: Repository, before: str | None, after: str | None, group: str, crew: Crew
) -> TreeDifference:
    """Compare two sets of weights; a vector beside another is the weights of base + vector.

    Args:
        repository: where.
        before: a revision; alone it is compared with HEAD; None stands for the base.  A vector
            alone is shown from where it starts to where it leads.
        after: a revision.
        group: one of `groups.GROUPS`.
        crew: threads, and who is shown the progress.

    Raises:
        MixedError: one is a vector and the other is not.
        IdentityError: a revision cannot be computed.
    """
    head = repository.head()
    old, new = _operands(repository, before, after)
    with repository.blocks(head.config) as blocks:
        ids = _trees(repository, old, new, crew)
        before_tree, after_tree = map(repository.store.tree, ids)
        changes = compare(before_tree, after_tree, blocks, crew)
    start = f"where {old.text} starts" if old is new else old.text
    by_name = {change.tensor.name: change for change in changes}
    rows = tuple(_row(label, members) for label, members in grouped(by_name, group))
    return TreeDifference(start, new.text, group, rows, _row("total", changes))


def _operands(
    repository: Repository, before: str | None, after: str | None
) -> tuple[Revision, Revision]:
    old = resolve(repository, BASE if before is None else before)
    if after is None and old.is_tau:
        return old, old
    new = resolve(repository, "HEAD" if after is None else after)
    if old.is_tau != new.is_tau:
        vector, tree = (old, new) if old.is_tau else (new, old)
        raise MixedError(tree.text, vector.text)
    return old, new


def _trees(repository: Repository, old: Revision, new: Revision, crew: Crew) -> tuple[bytes, bytes]:
    if old is new and old.vector is not None and isinstance(old.vector[1], CapturedVector):
        return old.vector[1].from_tree, old.vector[1].to_tree
    if old is new:
        return old.state.config.base_tree, _built(repository, old, crew)
    return _built(repository, old, crew), _built(repository, new, crew)


def _built(repository: Repository, revision: Revision, crew: Crew) -> bytes:
    return (
        Builds(repository, revision.state.config, crew, allow_nonfinite=True)
        .build(revision.formula)
        .tree
    )


def _row(label: str, members: Iterable[TensorChange]) -> Row:
    changes = list(members)
    sums = total(one.change for one in changes)
    return Row(
        label=label,
        tensors=len(changes),
        changed_tensors=sum(one.sort != "same" for one in changes),
        elements=sums.elements,
        changed_elements=sums.changed,
        blocks=sum(one.tensor.block_count for one in changes),
        changed_blocks=sum(one.changed_blocks for one in changes),
        tau_norm=math.sqrt(sums.tau_square),
        from_norm=math.sqrt(sums.base_square),
        sorts=tuple(sorted({one.sort for one in changes} - {"same", "changed"})),
    )
