"""Commit: a training result becomes a captured vector, and a term of the personality."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo import personality
from pvc.repo.build import formula
from pvc.repo.capture import Capture, Goal, capture
from pvc.repo.contents import blocks_of
from pvc.repo.names import check_name
from pvc.repo.origin import Claim, check_nearest, find_origin
from pvc.repo.plan import plan
from pvc.repo.realise import check_possible, known
from pvc.repo.record import Change, check_ready, record
from pvc.repo.recovery import recover
from pvc.repo.revision import AmbiguousError
from pvc.repo.state import State, vector_path
from pvc.repo.target import Target
from pvc.repo.vector import CapturedVector, Statistics
from pvc.weights.checkpoint import Checkpoint
from pvc.weights.compare import Difference, first_differences, renamed

if TYPE_CHECKING:
    from pvc.repo.formula import Formula
    from pvc.repo.origin import Distances
    from pvc.repo.personality import Personality
    from pvc.repo.repository import Repository
    from pvc.repo.vector import Vector
    from pvc.repo.workers import Crew
    from pvc.weights.folder import LeftOut
    from pvc_store.tree import Tree

ROUNDED_SHARE = 0.5
"""Below this share of changed elements, 16-bit rounding has probably swallowed the update."""


class OtherBaseError(PvcError):
    """A checkpoint's tensors are not those of the base.

    Attributes:
        path: the checkpoint.
        differences: the first of them.
        renamed: a name in the base and what the checkpoint seems to call it, if that is all.
    """

    def __init__(
        self, path: Path, differences: tuple[Difference, ...], renamed: tuple[str, str] | None
    ) -> None:
        self.path = path
        self.differences = differences
        self.renamed = renamed
        listed = "; ".join(map(str, differences))
        super().__init__(f"{path} is not a result of training this base: {listed}.")


class NothingChangedError(PvcError):
    """There is nothing to commit.

    Attributes:
        what: what is the same, and as what.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"Nothing changed: {what}.")


class NonFiniteError(PvcError):
    """A checkpoint holds NaN or Inf where the base has numbers.

    Attributes:
        path: the checkpoint.
        names: the tensors.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.names = names
        more = " and others" if len(names) > 3 else ""
        super().__init__(
            f"{path} holds NaN or Inf where it started from numbers: {', '.join(names[:3])}{more}."
        )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be committed.

    Attributes:
        name: the vector's name.
        source: the checkpoint's directory.
        onto: what it was trained from, as a revision; None lets pvc find out.
        aside: store it, but leave the personality as it is.
        message: the commit message; None lets pvc word it.
        allow_nonfinite: accept NaN and Inf.
    """

    name: str
    source: Path
    onto: str | None = None
    aside: bool = False
    message: str | None = None
    allow_nonfinite: bool = False


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did.

    Attributes:
        name: the vector.
        vector: what is stored of it.
        action: "captured", "extended" or "replaced".
        origin: what it was measured against, in words.
        distances: to the base and to HEAD, where both were looked at.
        personality: the personality of the new commit.
        applied: whether the vector is a term of it.
        commit: id of the new commit.
        left_out: files that do not belong to the checkpoint.
        rounded_share: share of changed elements in the 16-bit tensors that changed, if it is so
            low that rounding probably swallowed the update; else None.
    """

    name: str
    vector: CapturedVector
    action: str
    origin: str
    distances: Distances | None
    personality: Personality
    applied: bool
    commit: str
    left_out: tuple[LeftOut, ...]
    rounded_share: float | None


def commit(repository: Repository, wish: Wish, crew: Crew) -> Committed:
    """Commit a training result.

    Raises:
        OtherBaseError, NothingChangedError, NonFiniteError: see there.
        ContainedError, AppliedError, IdentityError: what it would do to the personality.
        OtherTreeError, NearerHeadError, NearerBaseError: what it started from is in doubt.
        HeadMovedError: somebody moved HEAD meanwhile.
        EditedError: the personality was edited and not committed.
        CheckpointError: the source is no checkpoint that can be read.
    """
    check_name(wish.name)
    with repository.lock():
        recover(repository)
        repository.check_clean()
        before = check_ready(repository)
        return _Commit(repository, wish, crew, before).run()


class _Commit:
    """One commit under way; the repository is locked and clean."""

    def __init__(
        self, repository: Repository, wish: Wish, crew: Crew, before: tuple[str, str]
    ) -> None:
        if repository.git.is_ref(wish.name):
            raise AmbiguousError(wish.name)
        self.repository = repository
        self.wish = wish
        self.crew = crew
        self.checkpoint = Checkpoint.open(wish.source)
        self.before = before
        self.head = State(repository.git, before[1])
        self.base = repository.store.tree(self.head.config.base_tree)
        check_base(self.base, self.checkpoint)
        path = Path(os.path.realpath(wish.source))
        self.target = repository.targets.find(path)
        claim = Claim(wish.onto, wish.aside)
        self.origin = find_origin(repository, self.head, self.target, claim, crew)
        self.plan = plan(self.head, wish.name, self.origin, aside=wish.aside)

    def run(self) -> Committed:
        store = self.repository.store
        with (
            store.writing() as writing,
            blocks_of(self.repository, self.head.config, writing) as blocks,
        ):
            start = store.tree(self.plan.start)
            goal = Goal(start, self.repository.norms.read(start))
            captured = capture(self.checkpoint, blocks, writing, goal, self.crew)
            self._check(captured)
            distances = check_nearest(
                self.repository, self.origin, captured.tree, blocks, self.crew
            )
            writing.put_tree(captured.tree, self.base)
            writing.put_layout(captured.layout)
            statistics = captured.statistics(writing.stored_bytes)
        vector = self._vector(captured, statistics)
        self._check_new(vector)
        check_possible(self.repository, self._formula(vector))
        state = self._record(vector)
        return Committed(
            name=self.wish.name,
            vector=vector,
            action=self.plan.action,
            origin=self.origin.text,
            distances=distances,
            personality=self.plan.personality,
            applied=self.wish.name in self.plan.personality.names(),
            commit=state.commit,
            left_out=self.checkpoint.left_out,
            rounded_share=rounded_share(captured),
        )

    def _check(self, captured: Capture) -> None:
        source, tree, origin = self.wish.source, captured.tree.id, self.origin
        if tree == origin.tree and self.plan.action != "extended":  # its layout may be another
            raise NothingChangedError(f"{source} holds the weights of {origin.text}")
        if tree == origin.doubted:
            rival = "HEAD" if origin.tree == self.base.id else "the base"
            raise NothingChangedError(f"{source} holds the weights of {rival}")
        nonfinite = captured.nonfinite()
        if nonfinite and not self.wish.allow_nonfinite:
            raise NonFiniteError(source, nonfinite)

    def _check_new(self, vector: CapturedVector) -> None:
        name, head = self.wish.name, self.head
        old = head.vector(name) if name in head.names else None
        same = isinstance(old, CapturedVector) and old.link == vector.link
        if same and self.plan.personality == head.personality:
            raise NothingChangedError(f"{self.wish.source} is what {name} leads to already")

    def _vector(self, captured: Capture, statistics: Statistics) -> CapturedVector:
        provenance = {"origin": _plain(os.path.realpath(self.checkpoint.directory))}
        if self.wish.message:
            provenance["message"] = _plain(self.wish.message)
        return CapturedVector(
            base=self.base.id,
            origin=self.plan.start,
            result=captured.tree.id,
            layout=captured.layout.id,
            statistics=statistics,
            provenance=tuple(sorted(provenance.items())),
            origin_recipe=self._origin_recipe(),
        )

    def _origin_recipe(self) -> bytes | None:
        if self.plan.start == self.origin.tree:
            return self.origin.recipe
        old = self.head.vector(self.wish.name)  # extended: it keeps where it started
        return old.origin_recipe if isinstance(old, CapturedVector) else None

    def _formula(self, vector: CapturedVector) -> Formula:
        """What the personality is afterwards."""

        def named(name: str) -> Vector:
            return vector if name == self.wish.name else self.head.vector(name)

        return formula(self.head.config, self.plan.personality, named)

    def _record(self, vector: CapturedVector) -> State:
        name, head = self.wish.name, self.head
        changes: dict[str, bytes | None] = {vector_path(name): vector.to_text().encode()}
        if self.plan.personality != head.personality:
            text = personality.edit(head.personality_text, self.plan.personality)
            changes[personality.PATH] = text.encode()
        built = known(self.repository, head.config, self._formula(vector))
        message = self.wish.message or f"{name}: {self.plan.action}"
        return record(
            self.repository, Change(self.before, changes, message, built, self._adopted(vector))
        )

    def _adopted(self, vector: CapturedVector) -> tuple[Target, ...]:
        """A target that was committed holds what the vector leads to."""
        if self.target is None:
            return ()
        name, terms, stamps = self.wish.name, self.plan.reached, self.checkpoint.fingerprint
        return (Target(self.target.path, vector.result, vector.layout, name, terms, stamps),)


def check_base(base: Tree, checkpoint: Checkpoint) -> None:
    """Make sure that a checkpoint has the tensors of the base; wider floats are allowed.

    Raises:
        OtherBaseError: it has not.
    """
    found = first_differences(base, checkpoint.tensors, allow_wider=True)
    if found:
        guess = renamed(base, checkpoint.tensors)
        raise OtherBaseError(checkpoint.directory, found, guess)


def _plain(text: str) -> str:
    """What the command line gave, with bytes that are not UTF-8 written out."""
    return os.fsencode(text).decode(errors="backslashreplace")


def rounded_share(captured: Capture) -> float | None:
    """Share of changed elements in the 16-bit tensors that changed, if it is suspiciously low."""
    changed = [
        one.change
        for one in captured.tensors
        if one.changed_blocks and one.tensor.kind.name in {"BF16", "F16"}
    ]
    elements = sum(change.elements for change in changed)
    share = sum(change.changed for change in changed) / elements if elements else 1.0
    return share if share < ROUNDED_SHARE else None
