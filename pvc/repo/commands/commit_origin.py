"""What a training result started from: the tree that its vector is measured against.

A target that pvc wrote remembers its tree.  Any other directory is taken to start at the base.
Neither is sure: a folder may have been refilled, or trained from HEAD elsewhere.  So the distance
to what it could as well have started from is looked at too, and if that is nearer, the user has to
say what it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
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
        where: the target, in words.
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
    """What a training result started from.

    Attributes:
        tree: its tree id.
        terms: the terms of that personality, or None where it is not known.
        text: the same in words.
        doubted: tree id of what it could as well have started from: HEAD for a result that is
            taken to start at the base, the base for a target.
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
        """The directory or engine, in words."""
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


@dataclass(frozen=True, slots=True)
class Claim:
    """What the user says of a result.

    Attributes:
        onto: what it was trained from, as a revision; for a captured vector, what it leads to.
        aside: whether the personality will stay as it is.
    """

    onto: str | None
    aside: bool


def find_origin(
    repository: Repository, head: Snapshot, target: TargetContent | None, claim: Claim, crew: Crew
) -> CommitOrigin:
    """What a checkpoint started from.

    Args:
        repository: where.
        head: what HEAD says.
        target: the target that the result lies in, if it is one.
        claim: what the user says.
        crew: builds what HEAD or the revision is, where nobody did so before.

    Raises:
        OtherTreeError: the target holds another tree than HEAD's, and would be applied.
    """
    onto = claim.onto
    if onto is not None:
        revision = resolve(repository, onto)
        if revision.vector and isinstance(revision.vector[1], CapturedVector):
            return CommitOrigin(revision.vector[1].to_tree, revision.terms, onto)
        built = Builds(repository, revision.state.config, crew).build(revision.formula)
        return CommitOrigin(built.tree, revision.terms, onto, recipe=_recipe(revision.formula))
    builds = Builds(repository, head.config, crew)
    if target is None:
        head_tree = builds.build(head.formula).tree
        doubted = None if head_tree == head.config.base_tree else head_tree
        return CommitOrigin(head.config.base_tree, (), BASE, doubted)
    head_built = builds.find(head.formula) or builds.build(head.formula)
    is_head = target.tree == head_built.tree
    if not (is_head or claim.aside):
        raise OtherTreeError(target.where, target.revision)
    builds.restore(target.tree)
    if is_head:
        found = _of_target(target, head, head.personality.terms)
        return replace(found, recipe=_recipe(head.formula))
    made = BuiltTrees(repository.folder).of(target.tree)
    found = _of_target(target, head, target.terms)
    return replace(found, recipe=made[0].digest if made else None)


def _recipe(formula: Formula) -> bytes | None:
    return None if formula.exact else formula.digest()


def _of_target(
    target: TargetContent, head: Snapshot, terms: tuple[Term, ...] | None
) -> CommitOrigin:
    base = head.config.base_tree
    return CommitOrigin(target.tree, terms, target.revision, None if target.tree == base else base)


def check_nearest(
    repository: Repository, origin: CommitOrigin, tree: Tree, blocks: Blocks, crew: Crew
) -> Distances | None:
    """Make sure that a result is not nearer to what it could as well have started from.

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
