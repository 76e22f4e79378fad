"""The choice of a commit's origin between the candidates, once the weights are read.

What is known beforehand stands, unless bits contradict it.  Else bits decide; else, if both origins
come to the same vector, it does not matter; else `pvc.toml` says it, or the commit is aside and
takes the base; else the user is asked, and shown what HEAD would become under each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.commands.commit_action import plan
from pvc.repo.commands.commit_origin import HEAD, Told, revision_origin
from pvc.repo.commands.earlier_trees import earlier_trees
from pvc.repo.commands.origin_evidence import OriginEvidence
from pvc.repo.history.revision import BASE
from pvc.repo.trees.tree_sides import tree_sides

if TYPE_CHECKING:
    from collections.abc import Callable

    from pvc.parallel import Crew
    from pvc.repo.commands.commit_action import CommitAction
    from pvc.repo.commands.commit_origin import Candidates, CommitOrigin
    from pvc.repo.repository import Repository
    from pvc.repo.snapshot import Snapshot
    from pvc.repo.trees.blocks import Blocks
    from pvc.repo.trees.statistics import Capture


@dataclass(frozen=True, slots=True)
class OriginReading:
    """What a commit would make of HEAD if the result had started at one of the candidates.

    Attributes:
        onto: the candidate, as `--onto` takes it.
        personality: HEAD's personality afterwards; None if the commit would be refused.
        is_source: whether HEAD's weights would be those of the result.
        refusal: why the commit would be refused, if so.
    """

    onto: str
    personality: str | None
    is_source: bool
    refusal: str = ""


class UnknownOriginError(PvcError):
    """Nothing tells what a result was trained from, or its bits contradict what does.

    Attributes:
        where: the directory or engine, for messages.
        evidence: the counts.
        readings: what HEAD would become under each candidate.
    """

    def __init__(
        self,
        where: str,
        evidence: OriginEvidence,
        readings: tuple[OriginReading, ...],
        why: str,
    ) -> None:
        self.where = where
        self.evidence = evidence
        self.readings = readings
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class ChosenOrigin:
    """The origin of a commit.

    Attributes:
        origin: the tree.
        told: what told it.
        evidence: the counts, where there were two candidates.
    """

    origin: CommitOrigin
    told: Told
    evidence: OriginEvidence | None


@dataclass(frozen=True, slots=True)
class OriginChoice:
    """A choice to be made.

    Attributes:
        repository: where.
        head: HEAD.
        name: the vector that is committed.
        where: the result, for messages.
        aside: whether the personality will stay as it is.
        after: HEAD after a commit that does this.
    """

    repository: Repository
    head: Snapshot
    name: str
    where: str
    aside: bool
    after: Callable[[CommitOrigin, CommitAction], Snapshot]

    def settle(self, found: Candidates, captured: Capture, crew: Crew) -> ChosenOrigin:
        """Choose.

        Raises:
            UnknownOriginError: the user has to.
        """
        if found.rival is None:
            return ChosenOrigin(found.likely, found.told or Told.ONLY, None)
        evidence = OriginEvidence.of(one.sides for one in captured.tensors)
        sides = {BASE: found.likely, HEAD: found.rival}
        if found.likely.tree != self.head.config.base_tree:
            sides = {BASE: found.rival, HEAD: found.likely}
        decided = sides.get(evidence.side or "")
        if found.told is not None:
            if decided not in {None, found.likely}:
                raise self._unclear(found, captured, evidence)
            return ChosenOrigin(found.likely, found.told, evidence)
        if decided is not None:
            return ChosenOrigin(decided, Told.BITS, evidence)
        return self._without_evidence(found, captured, evidence, crew)

    def check_earlier(
        self, chosen: ChosenOrigin, captured: Capture, blocks: Blocks, crew: Crew
    ) -> None:
        """Make sure that a result of which bits told the origin did not start at an earlier HEAD.

        Raises:
            UnknownOriginError: its bits are rather those of an earlier one; the user has to choose.
        """
        decided = self.repository.store.tree(chosen.origin.tree)
        head = Builds(self.repository, self.head.config).tree_of(self.head.formula)
        known = frozenset({decided.id, self.head.config.base_tree, head or decided.id})
        for commit, tree in earlier_trees(self.repository, self.head, known):
            sides = tree_sides(blocks, captured.tree, decided, tree, crew)
            evidence = OriginEvidence.of(sides)
            if evidence.side == "HEAD":  # which stands for the second of the two
                raise self._earlier(chosen.origin, commit, captured, evidence, crew)

    def _earlier(
        self,
        decided: CommitOrigin,
        commit: str,
        captured: Capture,
        evidence: OriginEvidence,
        crew: Crew,
    ) -> UnknownOriginError:
        origins = decided, revision_origin(self.repository, commit, crew)
        named = "the base" if decided.text == BASE else decided.text
        why = (
            f"{self.where} seems to be trained from commit {commit} rather than from {named}: "
            f"{evidence.told(commit, named)}."
        )
        readings = tuple(self._reading(one, captured) for one in origins if not self.aside)
        return UnknownOriginError(self.where, evidence, readings, why)

    def _without_evidence(
        self, found: Candidates, captured: Capture, evidence: OriginEvidence, crew: Crew
    ) -> ChosenOrigin:
        if found.rival is not None and self._is_same(found.likely, found.rival):
            return ChosenOrigin(found.likely, Told.SAME, evidence)
        default = self.head.config.commit_onto
        if default is not None:
            origin = revision_origin(self.repository, default, crew)
            return ChosenOrigin(origin, Told.DEFAULT, evidence)
        if self.aside:
            return ChosenOrigin(found.likely, Told.ASIDE, evidence)
        raise self._unclear(found, captured, evidence)

    def _plan(self, origin: CommitOrigin) -> CommitAction:
        return plan(self.head, self.name, origin, aside=self.aside)

    def _is_same(self, one: CommitOrigin, two: CommitOrigin) -> bool:
        """Whether two origins make the same vector of a result."""
        try:
            plans = self._plan(one), self._plan(two)
        except PvcError:
            return False
        return (plans[0].start, plans[0].personality) == (plans[1].start, plans[1].personality)

    def _unclear(
        self, found: Candidates, captured: Capture, evidence: OriginEvidence
    ) -> UnknownOriginError:
        counts = evidence.told("HEAD" if found.told is None else self._other(found))
        if found.told is Told.TARGET:
            why = (
                f"{self.where} held {found.likely.text} when pvc last wrote to it, and what is "
                f"there now was hardly trained from that: {counts}."
            )
        elif found.told is Told.TRAINER:
            why = (
                f"The trainer's files in {self.where} name {found.likely.text} as its parent, and "
                f"its weights say otherwise: {counts}."
            )
        else:
            why = f"It cannot be told whether {self.where} was trained from the base or from HEAD: "
            why += f"{counts}."
            if evidence.is_on_the_line:
                why = f"{why[:-1]}, and all its changes lie along HEAD's own."
        readings = tuple(
            self._reading(one, captured)
            for one in (found.likely, found.rival)
            if one is not None and not self.aside  # which leaves HEAD as it is
        )
        ordered = sorted(readings, key=lambda reading: reading.onto != BASE)
        return UnknownOriginError(self.where, evidence, tuple(ordered), why)

    @staticmethod
    def _other(found: Candidates) -> str:
        """The candidate that is not the base, for messages."""
        texts = [one.text for one in (found.likely, found.rival) if one and one.text != BASE]
        return texts[0] if texts else HEAD

    def _reading(self, origin: CommitOrigin, captured: Capture) -> OriginReading:
        try:
            planned = self._plan(origin)
            after = self.after(origin, planned)
            exact = after.formula.exact
        except PvcError as error:
            return OriginReading(origin.text, None, is_source=False, refusal=str(error))
        is_source = exact is not None and exact.tree == captured.tree.id
        return OriginReading(origin.text, str(planned.personality), is_source)
