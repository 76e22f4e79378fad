"""The origin of a commit: the tree that a training result started from, to which it is compared.

The record of a target says which tree that was.  Any other directory is taken to start at the base.
Neither is sure: a folder may have been refilled, or trained from HEAD elsewhere.  So the distance
to the other candidate is measured too, and if that one is nearer, the user has to say which it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.build.builds import Builds
from pvc.repo.history.revision import BASE, resolve
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.trees.changes import compare, total

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.personality.formula import Formula
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tree


class OtherTreeError(PvcError):
    """A target holds another tree than HEAD's.

    Attributes:
        where: the directory or engine, for messages.
        revision: what was checked out there.
    """

    def __init__(self, where: str, revision: str) -> None:
        self.where = where
        self.revision = revision
        super().__init__(
            f"What was checked out to {where} is {revision}, which is another tree than HEAD's."
        )


class NearerHeadError(PvcError):
    """A checkpoint of unknown origin is nearer to HEAD than to the base.

    Attributes:
        distances: both of them.
    """

    def __init__(self, distances: Distances) -> None:
        self.distances = distances
        super().__init__(
            f"The checkpoint is nearer to HEAD (relative distance {distances.head:.3g}) than to "
            f"the base ({distances.base:.3g}), and it was not said what it was trained from."
        )


class NearerBaseError(PvcError):
    """What lies in a target is nearer to the base than to what was checked out there.

    Attributes:
        distances: both of them.
    """

    def __init__(self, distances: Distances) -> None:
        self.distances = distances
        super().__init__(
            f"The checkpoint is nearer to the base (relative distance {distances.base:.3g}) than "
            f"to what was checked out to its folder ({distances.head:.3g}), and it was not said "
            "what it was trained from."
        )


@dataclass(frozen=True, slots=True)
class Distances:
    """Norms of a checkpoint's differences, relative to what it is compared with.

    Attributes:
        base: from the base.
        head: from HEAD's tree, or from the one that was checked out to its folder.
    """

    base: float
    head: float


@dataclass(frozen=True, slots=True)
class CommitOrigin:
    """The tree that a training result started from.

    Attributes:
        tree: its tree id.
        terms: the terms of that personality, or None where it is not known.
        text: the revision, as the user said it.
        doubted: tree id of the other candidate: HEAD's tree for a result that is taken to start at
            the base, the base for a target; None if it is the same.
        recipe: digest of the formula that the tree was computed by; None if it was captured.
    """

    tree: bytes
    terms: tuple[Term, ...] | None
    text: str
    doubted: bytes | None = None
    recipe: bytes | None = None


class TargetContent(Protocol):
    """What pvc last wrote to a directory or an engine, before training went on there."""

    @property
    def where(self) -> str:
        """The directory or engine, for messages."""
        ...

    @property
    def tree(self) -> bytes:
        """Tree id."""
        ...

    @property
    def revision(self) -> str:
        """What was checked out, as the user said it."""
        ...

    @property
    def terms(self) -> tuple[Term, ...] | None:
        """The terms of that personality, or None where it is not known."""
        ...


def revision_origin(repository: Repository, text: str, crew: Crew) -> CommitOrigin:
    """The tree of a revision, from which a result was trained as the user says.

    Args:
        repository: where.
        text: the revision; a captured vector stands for what it leads to.
        crew: computes the tree, if it is not stored.
    """
    revision = resolve(repository, text)
    if revision.vector and isinstance(revision.vector[1], CapturedVector):
        return CommitOrigin(revision.vector[1].to_tree, revision.terms, text)
    built = Builds(repository, revision.state.config, crew).build(revision.formula)
    return CommitOrigin(built.tree, revision.terms, text, recipe=_recipe(revision.formula))


def assumed_origin(repository: Repository, head: Snapshot, crew: Crew) -> CommitOrigin:
    """The base, for a result of which nobody says what it was trained from; HEAD is the rival."""
    base = head.config.base_tree
    head_tree = Builds(repository, head.config, crew).build(head.formula).tree
    return CommitOrigin(base, (), BASE, doubted=None if head_tree == base else head_tree)


def target_origin(
    repository: Repository, head: Snapshot, target: TargetContent, crew: Crew, *, aside: bool
) -> CommitOrigin:
    """The tree that pvc last wrote to a target.

    Args:
        repository: where.
        head: HEAD.
        target: what was written to the target.
        crew: computes trees that are not stored.
        aside: whether the personality will stay as it is.

    Raises:
        OtherTreeError: the target holds another tree than HEAD's, and would be applied.
        UnkeptTreeError: its tree is not stored, nor computed again.
    """
    builds = Builds(repository, head.config, crew)
    built = builds.find(head.formula) or builds.build(head.formula)
    is_head = target.tree == built.tree
    if not (is_head or aside):
        raise OtherTreeError(target.where, target.revision)
    builds.restore(target.tree)
    base = head.config.base_tree
    doubted = None if target.tree == base else base
    if is_head:
        terms, recipe = head.personality.terms, _recipe(head.formula)
        return CommitOrigin(target.tree, terms, target.revision, doubted, recipe)
    made = BuiltTrees(repository.folder).of(target.tree)
    recipe = made[0].digest if made else None
    return CommitOrigin(target.tree, target.terms, target.revision, doubted, recipe)


def _recipe(formula: Formula) -> bytes | None:
    return None if formula.exact else formula.digest()


def check_nearest(
    repository: Repository, origin: CommitOrigin, tree: Tree, blocks: Blocks, crew: Crew
) -> Distances | None:
    """Make sure that a result is not nearer to the other candidate for its origin.

    Raises:
        NearerHeadError, NearerBaseError: it is.
    """
    if origin.doubted is None:
        return None
    from_base = origin.tree == blocks.base.id
    head = repository.store.tree(origin.doubted if from_base else origin.tree)
    distances = Distances(
        _distance(blocks.base, tree, blocks, crew), _distance(head, tree, blocks, crew)
    )
    if from_base and distances.head < distances.base:
        raise NearerHeadError(distances)
    if not from_base and distances.base < distances.head:
        raise NearerBaseError(distances)
    return distances


def _distance(before: Tree, after: Tree, blocks: Blocks, crew: Crew) -> float:
    change = total(one.change for one in compare(before, after, blocks, crew))
    return math.sqrt(change.tau_square / change.base_square) if change.base_square else 0.0
