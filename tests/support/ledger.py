"""What a repository should say, kept in plain dictionaries: no blocks, no packs, no git.

Methods foresee what an operation does: they return the new state, or raise `Refused` with the error
that pvc has to raise.  Trees are told apart by their ids, computed here from the tensors alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from blake3 import blake3

from pvc.repo.commands.branches import BranchAndTagError, NoBranchError
from pvc.repo.commands.checkout_directory import SeveralTargetsError
from pvc.repo.commands.commit_action import AppliedError, ContainedError
from pvc.repo.commands.commit_origin import OtherTreeError
from pvc.repo.commands.editing import DependentError, NameTakenError
from pvc.repo.commands.origin_choice import UnknownOriginError
from pvc.repo.commands.revert import NotRevertibleError
from pvc.repo.commands.three_way import ConflictError
from pvc.repo.git import GitError, UnknownRevisionError
from pvc.repo.history.recording import DetachedError, NothingChangedError
from pvc.repo.history.revision import AmbiguousError
from pvc.repo.repository import EditedError
from pvc.repo.snapshot import NoVectorError
from pvc.repo.targets.directory import DriftedError
from pvc_store.ids import block_key
from pvc_store.kinds import KIND_BY_NAME
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pvc.errors import PvcError
    from tests.support.models import Model

K = TypeVar("K")
V = TypeVar("V")


class Refused(Exception):  # noqa: N818
    """Pvc has to raise this error."""

    def __init__(self, error: type[PvcError]) -> None:
        self.error = error
        super().__init__(error.__name__)


class NeedsArithmetic(Exception):  # noqa: N818
    """Pvc can do this; the ledger, which cannot add, cannot say what comes out."""


def refuse_if(condition: object, error: type[PvcError]) -> None:
    if condition:
        raise Refused(error)


@dataclass(frozen=True)
class Content:
    """What a directory holds: a tree, and the files that it comes as."""

    tree: bytes
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Vector:
    """A captured vector: its trees, and the text of its file once it is committed."""

    origin: bytes
    result: Content
    text: bytes = field(default=b"", compare=False)


@dataclass(frozen=True)
class Saved:
    """What a commit says: terms of scale 1 but for the last, vectors, behaviours."""

    terms: tuple[str, ...] = ()
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    behaviours: Mapping[str, bytes] = field(default_factory=dict)
    last_scale: float = 1.0


@dataclass(frozen=True)
class Held:
    """A target: what pvc wrote, the terms it is the sum of, and what is there now, if anything."""

    content: Content
    terms: tuple[str, ...] | None
    now: Content | None
    touched: bool = False


@dataclass(frozen=True)
class Named:
    """What a text names."""

    saved: Saved
    commit: str = ""
    branch: str | None = None


def tree_id(model: Model) -> bytes:
    """The id of a tree of tensors of at most one block each."""
    return Tree(
        Tensor(
            name,
            KIND_BY_NAME[raw.dtype],
            raw.shape,
            blake3(raw.data).digest(),
            block_key(raw.data) if raw.data else b"",
        )
        for name, raw in model.items()
    ).id


def side(base: Model, head: Model, new: Model) -> str | None:
    """What the bits of a result speak for, 20 to 1: "base", "HEAD" or neither.

    All are BF16, and results move elements at random: none lies on the line of base and HEAD.
    """
    bits = [np.concatenate([np.frombuffer(model[name].data, "<u2") for name in base])
            for model in (base, head, new)]  # fmt: skip
    apart = bits[0] != bits[1]
    ours, theirs = (int(np.sum(apart & (bits[2] == one))) for one in bits[:2])
    if ours >= max(20, 20 * theirs):
        return "base"
    return "HEAD" if theirs >= max(20, 20 * ours) else None


@dataclass
class Ledger:
    """One repository.

    Attributes:
        base: the base.
        models: the tensors of every tree.
        commits: what each commit says.
        branches: commit of each branch.
        tags: commit of each tag.
        branch: where HEAD is attached, or None.
        head: HEAD's commit.
        targets: the directories that pvc has written.
        edits: what the files say, if they were edited by hand and not committed.
    """

    base: Content
    models: dict[bytes, Model]
    commits: dict[str, Saved]
    branches: dict[str, str]
    branch: str | None
    head: str
    tags: dict[str, str] = field(default_factory=dict)
    targets: dict[Path, Held] = field(default_factory=dict)
    edits: Saved | None = None

    @property
    def now(self) -> Saved:
        """What HEAD says."""
        return self.commits[self.head]

    def stand(self, branch: str | None, commit: str) -> None:
        """HEAD is there now."""
        self.branch, self.head = branch, commit
        if branch is not None:
            self.branches[branch] = commit

    # Looking

    def build(self, saved: Saved) -> Content:
        reached = self.base
        for at, name in enumerate(saved.terms, 1):
            refuse_if(name not in saved.vectors, NoVectorError)
            vector = saved.vectors[name]
            scaled = saved.last_scale != 1 and at == len(saved.terms)
            if scaled or vector.origin != reached.tree:
                raise NeedsArithmetic
            reached = vector.result
        return reached

    def built(self, saved: Saved) -> Content | None:
        """The same, or None if it cannot be built, or not without arithmetic."""
        try:
            return self.build(saved)
        except (Refused, NeedsArithmetic):
            return None

    def resolve(self, text: str) -> Named:
        if text == "base":
            return Named(Saved())
        refs = self.branches | self.tags
        if text in self.now.vectors:
            refuse_if(text in refs, AmbiguousError)
            vector = self.now.vectors[text]
            return Named(Saved((text,), {text: vector}))
        if text == "HEAD":
            return Named(self.now, self.head, self.branch)
        commit = refs.get(text, text)
        refuse_if(commit not in self.commits, UnknownRevisionError)
        return Named(self.commits[commit], commit, text if text in self.branches else None)

    def terms_of(self, named: Named) -> tuple[str, ...] | None:
        """The terms whose sum it is, or None where a vector alone does not start at the base."""
        saved = named.saved
        partial = not named.commit and saved.terms
        if partial and saved.vectors[saved.terms[0]].origin != self.base.tree:
            return None
        return saved.terms

    def check_clean(self) -> None:
        refuse_if(self.edits is not None, EditedError)

    def check_ready(self) -> None:
        self.check_clean()
        refuse_if(self.branch is None, DetachedError)

    # Commit

    def commit(
        self, name: str, source: Content, path: Path | None, onto: str | None, aside: bool
    ) -> tuple[Saved, Held | None]:
        """What is committed, and what is then known of the target it was read from."""
        self.check_ready()
        refuse_if(name in self.branches | self.tags, AmbiguousError)
        target = None if path is None else self.targets.get(path)
        applied = name in self.now.terms
        origin, terms, rival = self._origin(target, onto, aside)
        start, extends = self._start(name, origin, terms)
        refuse_if(aside and applied, AppliedError)
        head = self.now
        after = head.terms if aside or applied else (*head.terms, name)
        if rival is None:
            self._check_chain({**head.vectors, name: Vector(start, source)}, after, name)
        refuse_if(source.tree == origin and not extends, NothingChangedError)
        refuse_if(source.tree == rival, NothingChangedError)
        if rival is not None and target is not None:
            found = self._side(origin, source.tree)
            refuse_if(found == "base", UnknownOriginError)
        elif rival is not None:
            found = self._side(rival, source.tree)
            if found == "HEAD":
                origin, terms = rival, head.terms
                start, extends = self._start(name, origin, terms)
            elif found is None and not aside:
                refuse_if(not self._is_same(name, rival), UnknownOriginError)
        vectors = {**head.vectors, name: Vector(start, source)}
        self._check_chain(vectors, after, name)
        refuse_if(vectors == head.vectors and after == head.terms, NothingChangedError)
        saved = replace(head, vectors=vectors, terms=after)
        if name not in after:
            self.build(head)
        if target is None:
            return saved, None
        grown = terms if terms is None or extends else (*terms, name)
        return saved, Held(source, grown if aside else after, source)

    def _origin(
        self, target: Held | None, onto: str | None, aside: bool
    ) -> tuple[bytes, tuple[str, ...] | None, bytes | None]:
        """Tree that a result started from, its terms, and the other candidate if there is one."""
        if onto is not None:
            named = self.resolve(onto)
            return self.build(named.saved).tree, self.terms_of(named), None
        tree, base = self.build(self.now).tree, self.base.tree
        if target is None:
            return base, (), None if tree == base else tree
        held = target.content.tree
        refuse_if(held != tree and not aside, OtherTreeError)
        terms = self.now.terms if held == tree else target.terms
        return held, terms, None if held == base else base

    def _start(self, name: str, origin: bytes, terms: tuple[str, ...] | None) -> tuple[bytes, bool]:
        """Where a vector of this name would start, and whether the old one is extended."""
        known = terms or ()
        old = self.now.vectors.get(name)
        if old is None:
            return origin, False
        extends = known[-1:] == (name,) and origin == old.result.tree
        refuse_if(not extends and name in known, ContainedError)
        return (old.origin, True) if extends else (origin, False)

    def _side(self, other: bytes, new: bytes) -> str | None:
        return side(*(self.models[tree] for tree in (self.base.tree, other, new)))

    def _is_same(self, name: str, head: bytes) -> bool:
        """Whether a result makes the same vector, be it from the base or from HEAD."""
        try:
            return self._start(name, head, self.now.terms)[0] == self.base.tree
        except Refused:
            return False

    def _check_chain(
        self, vectors: Mapping[str, Vector], terms: tuple[str, ...], name: str
    ) -> None:
        """No term starts at a result that did not exist before."""
        if name not in terms:
            return
        nowhere = Content(b"", {})
        self.build(Saved(terms, {**vectors, name: replace(vectors[name], result=nowhere)}))

    # Checkout

    def checkout(self, text: str, to: Path | None, keep_head: bool) -> tuple[Named, Path | None]:
        """What is checked out, and where."""
        named = self.resolve(text)
        if named.commit and not keep_head:
            self.check_clean()
        self.build(named.saved)
        there = [path for path, held in self.targets.items() if held.now] or [*self.targets]
        refuse_if(to is None and len(there) > 1, SeveralTargetsError)
        path = to or next(iter(there), None)
        held = None if path is None else self.targets.get(path)
        refuse_if(held and held.now and held.now != held.content, DriftedError)
        return named, path

    def create(self, name: str, *, tag: bool = False) -> None:
        """Make a branch or tag; no name is both."""
        same, other = (self.tags, self.branches) if tag else (self.branches, self.tags)
        refuse_if(name in self.now.vectors, AmbiguousError)
        refuse_if(name in other, BranchAndTagError)
        refuse_if(name in same, GitError)

    def switch(self, name: str, create: bool) -> None:
        if create:
            self.create(name)
            return
        refuse_if(name not in self.branches, NoBranchError)
        self.check_clean()

    # Edits

    def remove(self, name: str) -> Saved:
        self.check_ready()
        now = self.now
        refuse_if(name not in now.vectors, NoVectorError)
        refuse_if(name in now.terms, DependentError)
        self.build(now)
        return replace(
            now,
            vectors=without(now.vectors, name),
            behaviours=without(now.behaviours, name),
        )

    def rename(self, old: str, new: str) -> Saved:
        self.check_ready()
        now = self.now
        refuse_if(old not in now.vectors, NoVectorError)
        refuse_if(new in self.branches | self.tags, AmbiguousError)
        refuse_if(new in now.vectors or new in now.behaviours, NameTakenError)
        self.build(now)
        vectors = {**without(now.vectors, old), new: now.vectors[old]}
        behaviours = dict(now.behaviours)
        if old in behaviours:
            behaviours[new] = behaviours.pop(old)
        return Saved(renamed(now.terms, old, new) or (), vectors, behaviours)

    def revert(self, commit: str, parents: Sequence[str]) -> Saved:
        self.check_ready()
        refuse_if(len(parents) != 1, NotRevertibleError)
        now, undone, before = self.now, self.commits[commit], self.commits[parents[0]]
        vectors = merged(texts(undone), texts(now), texts(before))
        behaviours = merged(undone.behaviours, now.behaviours, before.behaviours)
        terms = merged(counted(undone.terms), counted(now.terms), counted(before.terms))
        if vectors is None or behaviours is None or terms is None:
            raise Refused(ConflictError)
        known = {(name, each.text): each for s in (now, before) for name, each in s.vectors.items()}
        found = {name: known[name, text] for name, text in vectors.items()}
        saved = Saved(tuple(terms.values()), found, behaviours)
        refuse_if(saved == now, NotRevertibleError)
        self.build(saved)
        return saved

    def commit_edits(self) -> Saved:
        refuse_if(self.branch is None, DetachedError)
        if self.edits is None:
            raise Refused(NothingChangedError)
        self.build(self.edits)
        return self.edits


def without(values: Mapping[str, V], name: str) -> dict[str, V]:
    return {other: value for other, value in values.items() if other != name}


def renamed(terms: tuple[str, ...] | None, old: str, new: str) -> tuple[str, ...] | None:
    return None if terms is None else tuple(new if name == old else name for name in terms)


def texts(saved: Saved) -> dict[str, bytes]:
    """What is kept of vectors, numbers and words included: by that, revert compares them."""
    return {name: vector.text for name, vector in saved.vectors.items()}


def counted(terms: tuple[str, ...]) -> dict[tuple[str, int], str]:
    """Terms, each under a key of its own."""
    seen: Counter[str] = Counter()
    found = {}
    for name in terms:
        seen[name] += 1
        found[name, seen[name]] = name
    return found


def merged(old: Mapping[K, V], ours: Mapping[K, V], theirs: Mapping[K, V]) -> dict[K, V] | None:
    """Both changes of `old`, in the order of `ours`; None if they are in each other's way."""
    order = list(ours)
    for at, key in enumerate(theirs):
        if key not in ours:
            order.insert(order.index(list(theirs)[at - 1]) + 1 if at else 0, key)
    found = {}
    for key in order:
        was, our, their = old.get(key), ours.get(key), theirs.get(key)
        if our != was and their not in (was, our):
            return None
        chosen = their if our == was else our
        if chosen is not None:
            found[key] = chosen
    return found
