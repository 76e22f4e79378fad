"""Settling an origin: what is taken for it is held against the elements of the result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.commands.commit_origin import HEAD, revision_origin
from pvc.repo.commands.origin_evidence import Evidence, Side, weigh

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.commands.commit_origin import CommitOrigin
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.trees.blocks import Blocks
    from pvc_store.tree import Tree

KNOWN = frozenset({"target", "trainer_state"})
"""Reasons that stand, unless the elements say the opposite."""


class UnknownOriginError(PvcError):
    """Nothing tells whether a result was trained from the base or from HEAD.

    Attributes:
        where: the directory or engine.
        name: the vector.
        evidence: how its elements compare.
        from_base: norm of the vector relative to the base, if it began there.
        head: HEAD's personality.
    """

    def __init__(
        self, where: str, name: str, evidence: Evidence, from_base: float, head: Personality
    ) -> None:
        self.where = where
        self.name = name
        self.evidence = evidence
        self.from_base = from_base
        self.head = head
        super().__init__(
            f"What {where} was trained from was not said, and its weights do not tell: {evidence}."
        )

    @property
    def from_head(self) -> float:
        """About the norm of the vector, if the result began at HEAD."""
        return self.from_base * self.evidence.nearness()


class RefilledError(PvcError):
    """What lies in a target was trained from the base, not from what was checked out there.

    Attributes:
        where: the directory or engine.
        revision: what was checked out there.
        evidence: how its elements compare.
    """

    def __init__(self, where: str, revision: str, evidence: Evidence) -> None:
        self.where = where
        self.revision = revision
        self.evidence = evidence
        super().__init__(
            f"{revision} was checked out to {where}, but what is there now seems to be trained "
            f"from the base: {evidence}."
        )


@dataclass(frozen=True, slots=True)
class Result:
    """A training result whose origin is to be settled.

    Attributes:
        name: of its vector.
        where: the directory or engine.
        tree: its weights.
        norm: of its difference from the assumed origin, relative to that.
        aside: whether the personality stays as it is.
    """

    name: str
    where: str
    tree: Tree
    norm: float
    aside: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """What settles origins.

    Attributes:
        repository: where.
        head: HEAD.
        blocks: gives the blocks of all trees.
        crew: threads, and who is shown the progress.
    """

    repository: Repository
    head: Snapshot
    blocks: Blocks
    crew: Crew

    def settle(self, origin: CommitOrigin, result: Result) -> CommitOrigin:
        """The origin of a result, once its elements have been looked at.

        Args:
            origin: what it is taken to be; it is looked at only if there is another candidate.
            result: what was trained.

        Raises:
            UnknownOriginError: nothing tells the base from HEAD.
            RefilledError: what lies in a target was trained from the base.
        """
        if origin.doubted is None:
            return origin
        base = self.blocks.base
        from_base = origin.tree == base.id
        rival = self.repository.store.tree(origin.doubted if from_base else origin.tree)
        evidence = weigh(base, rival, result.tree, self.blocks, self.crew)
        side = evidence.side()
        if origin.reason in KNOWN:
            self._check_known(origin, result, evidence, Side.HEAD if from_base else Side.BASE)
            return replace(origin, evidence=evidence)
        if side is None:
            return replace(self._undecided(origin, result, evidence), evidence=evidence)
        found = origin if side is Side.BASE else self._at(HEAD, "elements")
        return replace(found, reason="elements", evidence=evidence)

    def _check_known(
        self, origin: CommitOrigin, result: Result, evidence: Evidence, opposite: Side
    ) -> None:
        if evidence.side() is not opposite:
            return
        if origin.reason == "target":
            raise RefilledError(result.where, origin.text, evidence)
        raise self._unknown(result, evidence)

    def _undecided(self, origin: CommitOrigin, result: Result, evidence: Evidence) -> CommitOrigin:
        """The origin of a result whose elements tell nothing."""
        default = self.head.config.commit_onto
        if result.aside:
            return replace(origin, reason="aside")
        if default is None:
            raise self._unknown(result, evidence)
        return self._at(default, "pvc.toml")

    def _at(self, text: str, reason: str) -> CommitOrigin:
        return revision_origin(self.repository, text, self.crew, reason)

    def _unknown(self, result: Result, evidence: Evidence) -> UnknownOriginError:
        head = self.head.personality
        return UnknownOriginError(result.where, result.name, evidence, result.norm, head)
