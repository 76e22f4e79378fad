"""Random histories of sums: whatever is scaled, derived and merged builds to what numpy says.

The ledger holds names and numbers only.  It computes a personality as docs/format/personality.md
and docs/format/vector.md say, on whole tensors at once.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pvc.errors import PvcError
from pvc.parallel import Crew
from pvc.repo.commands.branches import create_branch, switch
from pvc.repo.commands.build import build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.combine import Combination, combine
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.editing import DependentError, NameTakenError
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.merge_branch import MergeConflictError, abort, merge_branch
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.scale import Scaling, rescale
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.repository import Repository
from pvc.repo.upkeep.prune_builds import prune
from tests.support import models
from tests.support.histories import run
from tests.support.ledger import merged, tree_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from pvc.merge.parameters import Value
    from tests.support.models import Model

    Floats = NDArray[Any]

CREW = Crew(threads=1)
SHAPES = {"model.embed_tokens.weight": (24, 16), "model.norm.weight": (16,)}
SCALES = st.sampled_from([1.0, 0.5, -1.0, -0.75, 0.1, 2.0, 0.0])
NEW = st.sampled_from(["calm", "loud", "mild"])
INDEX = st.integers(0, 99)


# What the ledger computes with.  Weights are those of all tensors behind each other.


@dataclass(frozen=True)
class Pair:
    """A captured vector: the trees it leads from and to, and the sum that the first one was."""

    origin: bytes
    result: bytes
    start: Sum | None = None


@dataclass(frozen=True)
class Recipe:
    """A derived vector, by names."""

    method: str
    terms: tuple[tuple[str, float], ...]
    density: float = 1.0
    factor: float = 1.0


@dataclass(frozen=True)
class Mix:
    """A derived vector, by what its names stand for."""

    method: str
    parts: tuple[Part, ...]
    density: float
    factor: float


@dataclass(frozen=True)
class Sum:
    """A tree, and what is added to it."""

    tree: bytes
    parts: tuple[Part, ...] = ()


Operand: TypeAlias = "Pair | Mix"
Part: TypeAlias = "tuple[float, Operand]"


@dataclass(frozen=True)
class Saved:
    """What a commit says."""

    terms: tuple[tuple[str, float], ...] = ()
    vectors: Mapping[str, Pair | Recipe] = field(default_factory=dict)

    def operand(self, name: str) -> Operand:
        found = self.vectors[name]
        if isinstance(found, Pair):
            return found
        parts = tuple((scale, self.operand(term)) for term, scale in found.terms)
        return Mix(found.method, parts, found.density, found.factor)

    def parts(self) -> list[Part]:
        return [(scale, self.operand(name)) for name, scale in self.terms]

    def is_sound(self) -> bool:
        """Whether every name stands for something."""
        try:
            return all(self.operand(name) for name in (*self.vectors, *dict(self.terms)))
        except (KeyError, RecursionError):
            return False


def alone(scale: float, operand: Operand) -> Part:
    """A mix of one vector is that vector with a scale."""
    while isinstance(operand, Mix):
        parts = tuple(alone(*part) for part in operand.parts if part[0] != 0)
        if len(parts) != 1 or (operand.method == "ties" and operand.density < 1):
            return (scale if parts else 0.0), replace(operand, parts=parts)
        scale, operand = scale * operand.factor * parts[0][0], parts[0][1]
    return scale, operand


def total(base: bytes, parts: Sequence[Part]) -> Sum:
    """A sum from the base: trees are followed as long as nothing has to be added."""
    reached = Sum(base)
    for part in parts:
        scale, operand = alone(*part)
        follows = scale == 1 and isinstance(operand, Pair)
        if scale == 0:
            continue
        if follows and reached in (Sum(operand.origin), operand.start):  # type: ignore[union-attr]
            reached = Sum(operand.result)  # type: ignore[union-attr]
        else:
            reached = replace(reached, parts=(*reached.parts, (scale, operand)))
    return reached


class Weights:
    """Trees by their ids."""

    def __init__(self, base: Model) -> None:
        self.models: dict[bytes, Model] = {}
        self.base = self.add(base)

    def add(self, model: Model) -> bytes:
        found = tree_id(model)
        self.models[found] = model
        return found

    def flat(self, tree: bytes) -> Floats:
        found = [models.numbers(raw).ravel() for raw in self.models[tree].values()]
        return np.concatenate(found).astype(np.float32)

    def tau(self, operand: Operand) -> Floats:
        if isinstance(operand, Pair):
            return self.flat(operand.result) - self.flat(operand.origin)
        taus = [self.tau(inner).astype(np.float64) for _, inner in operand.parts]
        scales = [scale for scale, _ in operand.parts]
        if operand.method == "ties":
            taus = [trimmed(tau, operand.density) for tau in taus]
        values = [scale * tau for scale, tau in zip(scales, taus, strict=True)]
        mass = np.zeros(taus[0].size)
        for value in values:
            mass = mass + value
        if operand.method == "ties":
            mass = agreeing(values, mass)
        return (operand.factor * mass).astype(np.float32)

    def build(self, what: Sum) -> bytes:
        acc = self.flat(what.tree)
        for scale, operand in what.parts:
            product = (scale * self.tau(operand).astype(np.float64)).astype(np.float32)
            acc = np.where(product != 0, acc + product, acc)
        made, at = {}, 0
        for name, raw in self.models[what.tree].items():
            size = int(np.prod(raw.shape))
            made[name] = models.tensor(acc[at : at + size].reshape(raw.shape), raw.dtype)
            at += size
        return self.add(made)


def trimmed(tau: Floats, density: float) -> Floats:
    rank = tau.size - int(tau.size * density)
    threshold = np.sort(np.abs(tau))[rank - 1] if rank else 0.0
    found: Floats = np.where(np.abs(tau) >= threshold, tau, 0.0)
    return found


def agreeing(values: list[Floats], mass: Floats) -> Floats:
    sign = np.sign(mass)
    sign = np.where(sign == 0, 1 if sign.sum() > 0 else -1, sign)
    whole, count = np.zeros(mass.size), np.zeros(mass.size)
    for value in values:
        whole = whole + np.where(np.sign(value) == sign, value, 0.0)
        count += np.sign(value) == sign
    mean: Floats = whole / np.maximum(count, 1)
    return mean


# The machine


class Sums(RuleBasedStateMachine):
    """One repository, and what its commits say."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.open = contextlib.ExitStack()
        self.count = 0

    @initialize()
    def begin(self) -> None:
        base = models.model(shapes=SHAPES)
        (self.folder / "work").mkdir()
        place = models.save(self.folder / "base", base)
        initialise(self.folder / "work", place, by_value=True, crew=CREW)
        self.repository = self.open.enter_context(Repository.open(self.folder / "work"))
        self.weights = Weights(base)
        self.now = Saved()
        self.commits: dict[str, Saved] = {}
        self.committed(Saved())
        for seed in (1, 2, 3):
            self.capture(seed)
        self.scale(1, -0.75)
        self.train_on(4)
        self.merge_to_a_new_one(0, 2, "sum", 1.0, -1.0, "calm")
        self.merge_to_a_new_one(1, 2, "ties", 0.7, -1.0, "loud")

    def teardown(self) -> None:
        with self.open:
            if hasattr(self, "commits"):
                self.everything_is_still_there()
        shutil.rmtree(self.folder)

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder / "work", check=True, capture_output=True, text=True,
        )  # fmt: skip
        return done.stdout.strip()

    def committed(self, saved: Saved) -> None:
        self.now = self.commits[self.git("rev-parse", "HEAD")] = saved

    def name(self, index: int) -> str:
        if not self.now.vectors:
            self.capture(index)
        listed = sorted(self.now.vectors)
        return listed[index % len(listed)]

    def dependents(self, name: str) -> list[str]:
        return [
            other
            for other, found in self.now.vectors.items()
            if isinstance(found, Recipe) and name in dict(found.terms)
        ]

    def attempt(
        self, error: type[PvcError] | None, act: Callable[[], object], after: Saved
    ) -> None:
        """Do something, which is refused, or leads to what the ledger says."""
        if error is None:
            act()
            self.committed(after)
        else:
            with pytest.raises(error):
                act()

    def with_vector(self, name: str, vector: Pair | Recipe) -> Saved:
        return replace(self.now, vectors={**self.now.vectors, name: vector})

    # Training

    @rule(seed=INDEX)
    def capture(self, seed: int) -> None:
        """A result of training the base, kept aside."""
        self.count += 1
        name, base = f"v{self.count}", self.weights.models[self.weights.base]
        result = self.weights.add(models.tuned(base, seed, 3e-3))
        place = models.save(self.folder / name, self.weights.models[result])
        commit(self.repository, Wish(name, onto="base", aside=True), CheckpointSource(place), CREW)
        self.committed(self.with_vector(name, Pair(self.weights.base, result)))

    @rule(seed=INDEX)
    def train_on(self, seed: int) -> None:
        """Train what HEAD is, be it a sum or not: from then on HEAD is the result, bit for bit."""
        self.count += 1
        name, place = f"v{self.count}", self.folder / f"target-{self.count}"
        checkout(self.repository, "HEAD", DirectoryTarget(place), keep_head=False, crew=CREW)
        start = total(self.weights.base, self.now.parts())
        origin = self.weights.build(start)
        result = self.weights.add(models.tuned(self.weights.models[origin], seed, 3e-3))
        (place / "model.safetensors").unlink()
        models.save(place, self.weights.models[result])
        commit(self.repository, Wish(name), CheckpointSource(place), CREW)
        after = self.with_vector(name, Pair(origin, result, start if start.parts else None))
        self.committed(replace(after, terms=(*after.terms, (name, 1.0))))
        assert build(self.repository, "HEAD", CREW).built.tree == result

    # Sums

    @rule(index=INDEX, scale=SCALES)
    def scale(self, index: int, scale: float) -> None:
        """Scale, and negate: a term is set, or added."""
        name = self.name(index)
        terms = {**dict(self.now.terms), name: scale}
        after = replace(self.now, terms=tuple(terms.items()))
        error = NothingChangedError if after == self.now else None
        self.attempt(error, lambda: rescale(self.repository, Scaling(name, scale)), after)

    @rule(index=INDEX, scale=SCALES, new=NEW)
    def scale_to_a_new_one(self, index: int, scale: float, new: str) -> None:
        name = self.name(index)
        after = self.with_vector(new, Recipe("sum", ((name, scale),)))
        error = NameTakenError if new in self.now.vectors else None
        self.attempt(error, lambda: rescale(self.repository, Scaling(name, scale, new)), after)

    @rule(
        first=INDEX,
        second=INDEX,
        method=st.sampled_from(["sum", "ties"]),
        density=st.sampled_from([0.2, 0.7, 1.0]),
        factor=st.sampled_from([1.0, 0.7, -1.0]),
        new=NEW,
    )
    def merge_to_a_new_one(
        self, first: int, second: int, method: str, density: float, factor: float, new: str
    ) -> None:
        names = tuple(dict.fromkeys((self.name(first), self.name(second))))
        density = density if method == "ties" else 1.0
        terms = dict(self.now.terms)
        made = Recipe(method, tuple((n, terms.get(n, 1.0)) for n in names), density, factor)
        error = NameTakenError if new in self.now.vectors else None
        given: dict[str, Value] = {"lambda": factor}
        if method == "ties":
            given["density"] = density
        wish = Combination(names, method, given, new)
        after = self.with_vector(new, made)
        self.attempt(error, lambda: combine(self.repository, wish, CREW), after)

    @precondition(lambda self: len(self.now.terms) > 1)
    @rule(method=st.sampled_from(["sum", "ties"]))
    def merge_all_terms(self, method: str) -> None:
        found = combine(
            self.repository,
            Combination((), method, {"density": 1.0} if method == "ties" else {}),
            CREW,
        )
        after = self.with_vector(found.name, Recipe(method, self.now.terms))
        self.committed(replace(after, terms=((found.name, 1.0),)))

    # Names

    @rule(index=INDEX)
    def remove(self, index: int) -> None:
        name = self.name(index)
        needed = self.dependents(name) or name in dict(self.now.terms)
        vectors = {other: found for other, found in self.now.vectors.items() if other != name}
        self.attempt(
            DependentError if needed else None,
            lambda: remove(self.repository, name),
            replace(self.now, vectors=vectors),
        )

    @rule(index=INDEX, new=NEW)
    def rename(self, index: int, new: str) -> None:
        old = self.name(index)

        def renamed(terms: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
            return tuple((new if name == old else name, scale) for name, scale in terms)

        vectors = {
            new if name == old else name: found
            if isinstance(found, Pair)
            else replace(found, terms=renamed(found.terms))
            for name, found in self.now.vectors.items()
        }
        self.attempt(
            NameTakenError if new in self.now.vectors else None,
            lambda: rename(self.repository, old, new),
            Saved(renamed(self.now.terms), vectors),
        )

    # Branches

    @rule(index=INDEX)
    def part(self, index: int) -> None:
        """Begin a branch at some commit, and go there."""
        self.count += 1
        listed = list(self.commits)
        start = listed[index % len(listed)]
        create_branch(self.repository, f"side{self.count}", start)
        switch(self.repository, f"side{self.count}", create=False)
        self.now = self.commits[start]

    @rule(index=INDEX)
    def merge_a_branch(self, index: int) -> None:
        branches = [name for name, _ in self.repository.git.branches()]
        name = branches[index % len(branches)]
        old = self.git("merge-base", "HEAD", name)
        theirs = self.git("rev-parse", name)
        if old == theirs or old == self.git("rev-parse", "HEAD"):
            merge_branch(self.repository, name)
            self.now = self.commits[self.git("rev-parse", "HEAD")]
            return
        before, other = self.commits[old], self.commits[theirs]
        vectors = merged(before.vectors, self.now.vectors, other.vectors)
        terms = merged(dict(before.terms), dict(self.now.terms), dict(other.terms))
        if vectors is None or terms is None:
            with pytest.raises(MergeConflictError):
                merge_branch(self.repository, name)
            abort(self.repository)
            assert self.git("status", "--porcelain") == ""
            return
        after = Saved(tuple(terms.items()), vectors)
        error = None if after.is_sound() else PvcError
        self.attempt(error, lambda: merge_branch(self.repository, name), after)

    # Looking

    @rule(
        start=st.sampled_from(["base", "HEAD"]),
        added=st.lists(st.tuples(SCALES, INDEX), min_size=1, max_size=4),
        write=st.booleans(),
        forget=st.booleans(),
    )
    def use_an_expression(
        self, start: str, added: list[tuple[float, int]], write: bool, forget: bool
    ) -> None:
        if forget:
            with self.repository.lock():
                prune(self.repository, 0)
            shutil.rmtree(self.repository.folder / "trims", ignore_errors=True)
        named = [(scale, self.name(index)) for scale, index in added]
        text = " ".join(
            [start, *(f"{'-' if scale < 0 else '+'} {abs(scale)}*{name}" for scale, name in named)]
        )
        parts = self.now.parts() if start == "HEAD" else []
        parts += [(scale, self.now.operand(name)) for scale, name in named]
        collected: dict[Operand, float] = {}
        for scale, operand in (alone(*part) for part in parts):
            collected[operand] = scale + collected.get(operand, 0.0)
        wanted = total(self.weights.base, [(scale, one) for one, scale in collected.items()])
        tree = self.weights.build(wanted)
        assert build(self.repository, text, CREW).built.tree == tree
        if write:
            self.count += 1
            place = self.folder / f"written-{self.count}"
            checkout(self.repository, text, DirectoryTarget(place), keep_head=True, crew=CREW)
            found = models.contents(place)["model.safetensors"]
            model = self.weights.models[tree]
            assert found == models.safetensors(model, list(model))

    @invariant()
    def head_is_what_the_ledger_says(self) -> None:
        head = self.repository.head()
        terms = tuple((term.vector, term.scale) for term in head.personality.terms)
        assert terms == self.now.terms
        assert set(head.names) == set(self.now.vectors)

    def everything_is_still_there(self) -> None:
        """Every commit, and every vector that there ever was, builds to what it should."""
        assert fsck(self.repository, CREW).findings == ()
        seen: set[Operand] = set()
        for commit_id, saved in self.commits.items():
            self.builds_to(commit_id, saved.parts())
            for name in saved.vectors:
                operand = saved.operand(name)
                if operand not in seen:
                    self.builds_to(f"base + {name}@{commit_id}", [(1.0, operand)])
                    seen.add(operand)

    def builds_to(self, text: str, parts: list[Part]) -> None:
        wanted = self.weights.build(total(self.weights.base, parts))
        assert build(self.repository, text, CREW).built.tree == wanted


def test_histories_of_sums() -> None:
    run(Sums, 5, 20)


@pytest.mark.torture
def test_many_long_histories_of_sums() -> None:
    run(Sums, 40, 40)
