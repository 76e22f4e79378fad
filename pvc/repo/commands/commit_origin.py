"""The origin of a commit: the tree that a training result started from, to which it is compared.

1. `--onto` says it;
2. else the record of a target does, or a `trainer_state.json` that names its parent;
3. else the elements do, where the base and HEAD differ; see `origin_evidence`;
4. else it is the base for a vector that stays aside, or what `pvc.toml` says;
5. else the user has to say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from pvc.errors import PvcError
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.build.builds import Builds
from pvc.repo.history.revision import BASE, resolve
from pvc.repo.personality.vector import CapturedVector

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.commands.origin_evidence import Evidence
    from pvc.repo.personality.formula import Formula
    from pvc.repo.personality.personality_file import Term
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot

HEAD = "HEAD"


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


class UnknownParentError(PvcError):
    """A result names a parent that the repository does not have.

    Attributes:
        where: the directory.
        tree: tree id of the parent.
    """

    def __init__(self, where: str, tree: bytes) -> None:
        self.where = where
        self.tree = tree
        super().__init__(
            f"{where} says that it was trained from tree {tree.hex()[:12]}, which is not in this "
            "repository."
        )


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
        reason: how it is known: "said", "target", "trainer_state", "elements", "aside", "pvc.toml",
            or "only" if there is no other candidate; "" until that is settled.
        evidence: how the result's elements compare, if that was looked at.
    """

    tree: bytes
    terms: tuple[Term, ...] | None
    text: str
    doubted: bytes | None = None
    recipe: bytes | None = None
    reason: str = ""
    evidence: Evidence | None = None


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


def revision_origin(
    repository: Repository, text: str, crew: Crew, reason: str = "said"
) -> CommitOrigin:
    """The tree of a revision, from which a result was trained as the user says.

    Args:
        repository: where.
        text: the revision; a captured vector stands for what it leads to.
        crew: computes the tree, if it is not stored.
        reason: how it is known.
    """
    revision = resolve(repository, text)
    if revision.vector and isinstance(revision.vector[1], CapturedVector):
        return CommitOrigin(revision.vector[1].to_tree, revision.terms, text, reason=reason)
    built = Builds(repository, revision.state.config, crew, allow_nonfinite=True).build(
        revision.formula
    )
    recipe = _recipe(revision.formula)
    return CommitOrigin(built.tree, revision.terms, text, recipe=recipe, reason=reason)


def assumed_origin(repository: Repository, head: Snapshot, crew: Crew) -> CommitOrigin:
    """The base, for a result of which nobody says what it was trained from; HEAD is the rival."""
    base = head.config.base_tree
    head_tree = Builds(repository, head.config, crew, allow_nonfinite=True).build(head.formula).tree
    if head_tree == base:
        return CommitOrigin(base, (), BASE, reason="only")
    return CommitOrigin(base, (), BASE, doubted=head_tree)


def parent_origin(
    repository: Repository, head: Snapshot, parent: tuple[str, bytes], crew: Crew
) -> CommitOrigin:
    """The tree that a result names as its parent.

    Args:
        repository: where.
        head: HEAD.
        parent: the directory, and the tree id that it names.
        crew: computes HEAD's tree, if it is not stored.

    Raises:
        UnknownParentError: the repository does not have that tree.
    """
    where, tree = parent
    base, top = (revision_origin(repository, text, crew, "trainer_state") for text in (BASE, HEAD))
    for found, other in ((base, top), (top, base)):
        if found.tree == tree:
            return replace(found, doubted=None if other.tree == tree else other.tree)
    if repository.find_tree(tree) is None:
        raise UnknownParentError(where, tree)
    Builds(repository, head.config, crew).restore(tree)
    return CommitOrigin(tree, None, tree.hex()[:12], reason="trainer_state")


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
    builds = Builds(repository, head.config, crew, allow_nonfinite=True)
    built = builds.find(head.formula) or builds.build(head.formula)
    is_head = target.tree == built.tree
    if not (is_head or aside):
        raise OtherTreeError(target.where, target.revision)
    builds.restore(target.tree)
    base = head.config.base_tree
    doubted = None if target.tree == base else base
    if is_head:
        terms, recipe = head.personality.terms, _recipe(head.formula)
        return CommitOrigin(target.tree, terms, target.revision, doubted, recipe, "target")
    made = BuiltTrees(repository.folder).of(target.tree)
    recipe = made[0].digest if made else None
    return CommitOrigin(target.tree, target.terms, target.revision, doubted, recipe, "target")


def _recipe(formula: Formula) -> bytes | None:
    return None if formula.exact else formula.digest()
