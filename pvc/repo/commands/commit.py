"""`pvc commit NAME`: a training result becomes a captured vector, and a term of the personality."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.commands.commit_action import plan
from pvc.repo.commands.commit_origin import (
    Candidates,
    Told,
    candidates,
    revision_origin,
    target_candidates,
)
from pvc.repo.commands.origin_choice import OriginChoice
from pvc.repo.commands.same_weights import no_change
from pvc.repo.history.recording import PendingCommit, check_ready, record
from pvc.repo.history.recovery import recover
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.personality.vector import CapturedVector, Statistics
from pvc.repo.personality.vector_names import check_name
from pvc.repo.snapshot import Snapshot
from pvc.repo.trees.capture import CaptureOptions, recounted
from pvc.wording import shown

if TYPE_CHECKING:
    from pvc.parallel import Crew
    from pvc.repo.commands.commit_action import CommitAction
    from pvc.repo.commands.commit_origin import CommitOrigin
    from pvc.repo.commands.commit_source import CommitSource, OpenSource
    from pvc.repo.commands.origin_evidence import OriginEvidence
    from pvc.repo.personality.personality_file import Personality
    from pvc.repo.repository import Repository
    from pvc.repo.trees.statistics import Capture
    from pvc.weights.folder import LeftOut
    from pvc_store.layout import Layout


class NonFiniteError(PvcError):
    """A result holds NaN or Inf where the base has numbers.

    Attributes:
        where: the checkpoint or engine.
        names: the tensors.
    """

    def __init__(self, where: str, names: tuple[str, ...]) -> None:
        self.where = where
        self.names = names
        super().__init__(
            f"There are NaN or Inf where {where} started from numbers: {shown(names)}."
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """A commit as the user wants it.

    Attributes:
        name: the vector's name.
        onto: the revision that it was trained from; None lets pvc find out.
        aside: store it, but leave the personality as it is.
        message: the commit message; None for one of pvc's.
        allow_nonfinite: accept NaN and Inf.
    """

    name: str
    onto: str | None = None
    aside: bool = False
    message: str | None = None
    allow_nonfinite: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that was made.

    Attributes:
        name: the vector.
        vector: what is stored of it.
        action: "captured", "extended" or "replaced".
        origin_text: the revision that it was measured against.
        told: what told that it was trained from that.
        evidence: whose elements it has, where base and HEAD (or what was checked out to it) differ.
        personality: the personality of the new commit.
        applied: whether the vector is a term of it.
        is_result: whether HEAD's weights are now those that were committed; None if the vector is
            not applied.
        commit: id of the new commit.
        left_out: files that do not belong to the checkpoint.
        notes: what else is to be known about the checkpoint, each a phrase.
        rounded_share: share of changed elements in the 16-bit tensors that changed, if it is so
            low that rounding probably swallowed the update; else None.
        engine: name of the engine that it came from, or None.
        clean: whether that engine still holds just this and records it; else it went on training,
            has ended, or belongs to another repository.
    """

    name: str
    vector: CapturedVector
    action: str
    origin_text: str
    told: Told
    evidence: OriginEvidence | None
    personality: Personality
    applied: bool
    is_result: bool | None
    commit: str
    left_out: tuple[LeftOut, ...]
    rounded_share: float | None
    engine: str | None = None
    clean: bool = True
    notes: tuple[str, ...] = ()


def commit(repository: Repository, wish: Wish, source: CommitSource, crew: Crew) -> Committed:
    """Commit a training result.

    Args:
        repository: where.
        wish: the vector to make of it.
        source: the checkpoint or engine that holds it.
        crew: threads, and who is shown the progress.

    Raises:
        OtherBaseError, NothingChangedError, SameWeightsError, NonFiniteError: see there.
        ContainedError, AppliedError, IdentityError: the personality cannot take it.
        OtherTreeError, UnknownOriginError: its origin is in doubt.
        HeadMovedError: somebody moved HEAD meanwhile.
        EditedError: the personality was edited and not committed.
        CheckpointError, RefusedError, ...: the source cannot be read; see its `open`.
    """
    check_name(wish.name)
    with repository.lock():
        recover(repository)
        repository.check_clean()
        before = check_ready(repository)
        if repository.git.is_ref(wish.name):
            raise AmbiguousError(wish.name)
        head = Snapshot(repository.git, before[1])
        opened = source.open(repository, head, crew, aside=wish.aside)
        done = _Commit(repository, wish, crew, before, opened).run()
    return replace(done, clean=opened.confirm())


class _Commit:
    """One commit under way; the repository is locked and clean."""

    def __init__(
        self,
        repository: Repository,
        wish: Wish,
        crew: Crew,
        before: tuple[str, str],
        source: OpenSource,
    ) -> None:
        self.repository = repository
        self.wish = wish
        self.crew = crew
        self.source = source
        self.before = before
        self.head = Snapshot(repository.git, before[1])
        self.base = repository.store.tree(self.head.config.base_tree)
        self.candidates = self._candidates()
        self.origin = self.candidates.likely
        self.plan = plan(self.head, wish.name, self.origin, aside=wish.aside)

    def _candidates(self) -> Candidates:
        repository, target, crew = self.repository, self.source.target, self.crew
        if self.wish.onto is not None:
            origin = revision_origin(repository, self.wish.onto, crew)
            return Candidates(origin, None, Told.USER)
        if target is None:
            return candidates(repository, self.head, self.source.directory, crew)
        return target_candidates(repository, self.head, target, crew, aside=self.wish.aside)

    def run(self) -> Committed:
        store, rival = self.repository.store, self.candidates.rival
        with (
            store.writing() as writing,
            self.repository.blocks(self.head.config, writing) as blocks,
        ):
            start = store.tree(self.plan.start)
            other = None
            if rival is not None:
                there = rival if self.origin.tree == self.base.id else self.origin
                other = store.tree(there.tree)
            goal = CaptureOptions(start, self.repository.norms.read(start), other=other)
            captured = self.source.capture(blocks, writing, goal, self.crew)
            captured = self.source.completed(captured, store.tree(self.origin.tree))
            self._check_changed(captured)
            choice = self._choice(captured)
            chosen = choice.settle(self.candidates, captured, self.crew)
            if chosen.told is Told.BITS:
                choice.check_earlier(chosen, captured, blocks, self.crew)
            if chosen.origin.tree != self.origin.tree:
                self.origin = chosen.origin
                self.plan = plan(self.head, self.wish.name, self.origin, aside=self.wish.aside)
                captured = self.source.completed(captured, store.tree(self.origin.tree))
                self._check_changed(captured)
                before = store.tree(self.plan.start)
                captured = recounted(captured, before, blocks, self.crew)
            self._check_finite(captured)
            writing.put_tree(captured.tree, self.base)
            writing.put_layout(captured.layout)
            statistics = captured.statistics(writing.stored_bytes)
        vector = self._vector(captured, statistics, self.origin, self.plan)
        self._check_new(vector, captured.layout)
        state = self._record(vector)
        return Committed(
            name=self.wish.name,
            vector=vector,
            action=self.plan.action,
            origin_text=self.origin.text,
            told=chosen.told,
            evidence=chosen.evidence,
            personality=self.plan.personality,
            applied=self.wish.name in self.plan.personality.names(),
            is_result=self._is_result(state, vector),
            commit=state.commit,
            left_out=self.source.left_out,
            rounded_share=captured.rounded_share(),
            engine=self.source.engine,
            notes=self.source.notes,
        )

    def _choice(self, captured: Capture) -> OriginChoice:
        def after(origin: CommitOrigin, planned: CommitAction) -> Snapshot:
            vector = self._vector(captured, captured.statistics(0), origin, planned)
            changed = self.head.with_vector(self.wish.name, vector)
            return changed.with_personality(planned.personality)

        wish = self.wish
        return OriginChoice(
            self.repository, self.head, wish.name, self.source.where, wish.aside, after
        )

    def _check_changed(self, captured: Capture) -> None:
        where, tree, origin = self.source.where, captured.tree.id, self.origin
        if tree == origin.tree and self.plan.action != "extended":  # its layout may be another
            raise self._no_change(f"{where} holds the weights of {origin.text}", captured)
        rival = self.candidates.rival
        if rival is not None and tree == rival.tree and rival.tree != origin.tree:
            named = "the base" if tree == self.base.id else "HEAD"
            raise self._no_change(f"{where} holds the weights of {named}", captured)

    def _check_finite(self, captured: Capture) -> None:
        nonfinite = captured.nonfinite()
        if nonfinite and not self.wish.allow_nonfinite:
            raise NonFiniteError(self.source.where, nonfinite)

    def _check_new(self, vector: CapturedVector, layout: Layout) -> None:
        name, head = self.wish.name, self.head
        old = head.vector(name) if name in head.names else None
        same = isinstance(old, CapturedVector) and old.link == vector.link
        if same and self.plan.personality == head.personality:
            reason = f"{self.source.where} is what {name} leads to already"
            raise no_change(reason, layout, None, self.source.left_out)

    def _no_change(self, reason: str, captured: Capture) -> PvcError:
        base = self.repository.find_layout(self.head.config.base_layout)
        engine = self.source.engine is not None  # it has weights only
        return no_change(reason, captured.layout, None if engine else base, self.source.left_out)

    def _vector(
        self,
        captured: Capture,
        statistics: Statistics,
        origin: CommitOrigin,
        planned: CommitAction,
    ) -> CapturedVector:
        provenance = {"origin": _plain(self.source.provenance)}
        if self.wish.message:
            provenance["message"] = _plain(self.wish.message)
        return CapturedVector(
            base=self.base.id,
            from_tree=planned.start,
            to_tree=captured.tree.id,
            layout=captured.layout.id,
            statistics=statistics,
            provenance=tuple(sorted(provenance.items())),
            from_formula=self._recipe(origin, planned),
        )

    def _recipe(self, origin: CommitOrigin, planned: CommitAction) -> bytes | None:
        if planned.start == origin.tree:
            return origin.recipe
        old = self.head.vector(self.wish.name)  # extended: it keeps where it started
        return old.from_formula if isinstance(old, CapturedVector) else None

    def _is_result(self, state: Snapshot, vector: CapturedVector) -> bool | None:
        if self.wish.name not in self.plan.personality.names():
            return None
        return Builds(self.repository, state.config).tree_of(state.formula) == vector.to_tree

    def _record(self, vector: CapturedVector) -> Snapshot:
        name, repository = self.wish.name, self.repository
        after = self.head.with_vector(name, vector).with_personality(self.plan.personality)
        builds = Builds(repository, after.config)
        builds.check(after.formula)
        message = self.wish.message or f"{name}: {self.plan.action}"
        records = self.source.records(vector, name, self.plan.reached)
        change = PendingCommit(
            self.before, after.changes, message, builds.find_current(after.formula), records
        )
        return record(repository, change)


def _plain(text: str) -> str:
    """What the command line gave, with bytes that are not UTF-8 written out."""
    return os.fsencode(text).decode(errors="backslashreplace")
