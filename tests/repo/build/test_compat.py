"""TIES as mergekit and PEFT compute it, on whole models, against their rules in plain numpy."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pvc.merge.method import ParameterError, Rule
from pvc.merge.methods import METHODS, SUM
from pvc.merge.ties_dialects import COMPAT
from pvc.parallel import Crew
from pvc.repo.build.tensor_routes import IdentityError
from pvc.repo.commands.build import build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.combine import Combination, combine
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.init import initialise
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.scale import Scaling, rescale
from pvc.repo.personality.formula import Built, Formula, FormulaPart, Link, Mix, reduced
from pvc.repo.personality.resolve import Names
from pvc.repo.personality.vector import DerivedVector
from pvc.repo.repository import Repository
from tests.merge.test_ties_dialects import ORACLES
from tests.support import models
from tests.support.merging import trimmed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc.merge.parameters import Value
    from pvc.repo.build.taus import TrimFacts
    from tests.support.models import Model

CREW = Crew(threads=2)
BIG, Q, NORM, ONE = "embed", "q", "norm", "scalar"
SHAPES = {BIG: (700, 1024), Q: (96, 64), NORM: (3,), ONE: ()}  # three blocks, and one each
NAMES = ("a", "b", "c")
UNTOUCHED = {"a": (), "b": (Q,), "c": (Q, NORM)}
SCALES = (1.0, 0.37, 0.8)


def base_of(dtype: str) -> Model:
    """Zeros, so that results are taus, with numbers that are special, and integers."""
    found = {name: models.tensor(np.zeros(shape), dtype) for name, shape in SHAPES.items()}
    special = models.numbers(found[BIG]).copy()
    special[0, :4] = [-0.0, np.inf, -np.inf, np.nan]
    return {
        **found,
        BIG: models.tensor(special, dtype),
        "steps": models.tensor(np.arange(2), "I64"),
    }


def trained(base: Model, seed: int, untouched: tuple[str, ...], dtype: str) -> Model:
    """A result in which no two magnitudes of a tensor are equal, unless the dtype makes them so."""
    random = np.random.default_rng(seed)
    after = dict(base)
    for name in sorted(set(SHAPES) - set(untouched)):
        raw = base[name]
        size = int(np.prod(raw.shape))
        steps = random.permutation(size) + 1
        tau = (steps * random.choice([-1, 1], size) * 2.0**-22).reshape(raw.shape)
        old = models.numbers(raw)
        new = np.where(np.isfinite(old) & ~np.signbit(old), tau, old)
        after[name] = models.tensor(new, dtype)
    return after


class World:
    """A repository with three vectors that are not applied, and what they are made of."""

    def __init__(self, folder: Path, dtype: str) -> None:
        self.base = base_of(dtype)
        (folder / "work").mkdir()
        source = models.save(folder / "base", self.base)
        initialise(folder / "work", source, by_value=True, crew=CREW)
        self.repository = Repository.open(folder / "work")
        self.results = {}
        for seed, name in enumerate(NAMES, 1):
            result = trained(self.base, seed, UNTOUCHED[name], dtype)
            source = models.save(folder / f"from-{name}", result)
            commit(self.repository, Wish(name, aside=True), CheckpointSource(source), CREW)
            self.results[name] = result
        for name, scale in zip(NAMES, SCALES, strict=True):
            rescale(self.repository, Scaling(name, scale))

    def taus(self, tensor: str) -> NDArray[np.float64]:
        old = models.numbers(self.base[tensor])
        found = [models.numbers(result[tensor]).ravel() for result in self.results.values()]
        stack = np.stack(found) - np.where(np.isfinite(old), old, 0).ravel()
        return np.where(np.isfinite(stack), stack, 0)

    def combine(self, compat: str, density: float, factor: float = 1.0) -> tuple[str, TrimFacts]:
        name = f"{compat}_{density}_{factor}".translate({ord("."): "_", ord("-"): "m"})
        wish = Combination(NAMES, "ties", trimmed(density, factor, compat), name)
        trim = combine(self.repository, wish, CREW).trim
        assert trim is not None
        return name, trim

    def weights(self, text: str, to: Path) -> dict[str, NDArray[Any]]:
        from safetensors.numpy import load_file

        checkout(self.repository, text, DirectoryTarget(to), keep_head=True, crew=CREW)
        return load_file(to / "model.safetensors")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("compat"), "F32")
    yield made
    made.repository.close()


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("coarse"), "BF16")
    yield made
    made.repository.close()


@pytest.mark.parametrize("compat", COMPAT)
@pytest.mark.parametrize("density", [0.2, 0.7, 1.0])
def test_each_tensor_is_combined_by_itself(
    world: World, tmp_path: Path, compat: str, density: float
) -> None:
    name, trim = world.combine(compat, density)
    got = world.weights(f"base + {name}", tmp_path / "out")
    kept = np.zeros(3, np.int64)
    for tensor in SHAPES:
        taus = world.taus(tensor)
        wanted = ORACLES[compat](taus, np.array(SCALES), density)
        base = models.numbers(world.base[tensor]).ravel()
        found, finite = got[tensor].ravel(), np.isfinite(base)
        error = np.abs(found - wanted)[finite].max()
        assert error <= 1e-7 * np.abs(taus).max(), tensor
        assert found[~finite].tobytes() == base[~finite].astype("<f4").tobytes()
        count = int(density * taus.shape[1])
        count = max(1, count) if compat == "mergekit" else count
        kept += np.minimum(count, np.count_nonzero(taus, axis=1))
    assert np.signbit(got[BIG][0, 0])
    assert got["steps"].tolist() == [0, 1]
    assert trim.kept == tuple(kept)
    assert trim.elements == models.elements(world.base) - 2
    remove(world.repository, name)


def test_a_tensor_of_which_nothing_is_kept(world: World, tmp_path: Path) -> None:
    name, trim = world.combine("peft", 0.3)  # int(0.3 * 3) is 0
    assert np.isnan(trim.of(NORM)[0])
    assert trim.of(NORM)[2] == 0  # of c, which does not change it
    got = world.weights(f"base + {name}", tmp_path / "out")
    assert got[NORM].tobytes() == got[ONE].tobytes() * 3 == bytes(12)
    assert got[Q].any()
    remove(world.repository, name)


def test_lambda_comes_last(world: World, tmp_path: Path) -> None:
    name, _ = world.combine("mergekit", 0.3, -1.5)
    got = world.weights(f"base + {name}", tmp_path / "out")
    wanted = -1.5 * ORACLES["mergekit"](world.taus(Q), np.array(SCALES), 0.3)
    assert np.abs(got[Q].ravel() - wanted).max() <= 1e-7 * np.abs(wanted).max()
    remove(world.repository, name)


@pytest.mark.parametrize("compat", COMPAT)
def test_the_tree_does_not_depend_on_threads(coarse: World, compat: str) -> None:
    name, trim = coarse.combine(compat, 0.3)
    trees, documents = set(), set()
    folder = coarse.repository.folder
    for threads in (1, 2, 4):
        for kept in ("built", "trims"):
            shutil.rmtree(folder / kept, ignore_errors=True)
        trees.add(build(coarse.repository, f"base + {name}", Crew(threads=threads)).built.tree)
        (file,) = (folder / "trims").iterdir()
        documents.add(file.read_bytes())
    assert len(trees) == len(documents) == 1
    found = json.loads(documents.pop())["trim"]
    assert list(found["tensors"]) == sorted(SHAPES)
    read = {n: tuple(map(float.fromhex, own)) for n, own in found["tensors"].items()}
    assert str(read) == str(trim.tensors)  # NaN, which PEFT has for few elements, is not itself
    remove(coarse.repository, name)


@pytest.mark.parametrize("compat", COMPAT)
def test_thresholds_of_coarse_weights_are_exact(coarse: World, compat: str) -> None:
    name, trim = coarse.combine(compat, 0.2)
    for tensor in (BIG, Q):
        sizes = np.sort(np.abs(coarse.taus(tensor)), axis=1)
        n = sizes.shape[1]
        assert trim.of(tensor) == tuple(sizes[:, n - int(0.2 * n)])
    kept = [
        sum(
            np.count_nonzero((size := np.abs(coarse.taus(t)[row])) * (size >= trim.of(t)[row]))
            for t in SHAPES
        )
        for row in range(3)
    ]
    assert trim.kept == tuple(kept)
    remove(coarse.repository, name)


def test_kept_trims_are_read_again(world: World) -> None:
    name, trim = world.combine("mergekit", 0.4)
    (file,) = (
        path
        for path in (world.repository.folder / "trims").iterdir()
        if path.stat().st_mtime_ns == max(p.stat().st_mtime_ns for p in path.parent.iterdir())
    )
    before = file.read_bytes()
    file.write_bytes(before.replace(b'"tensors"', b'"censors"'))
    remove(world.repository, name)
    assert world.combine("mergekit", 0.4) == (name, trim)  # damaged: found again
    assert file.read_bytes() == before
    remove(world.repository, name)
    assert world.combine("mergekit", 0.4) == (name, trim)
    remove(world.repository, name)


def test_rules_are_recipes(world: World) -> None:
    trees = set()
    for compat in (None, *COMPAT):
        wish = Combination(NAMES, "ties", trimmed(0.5, 1.0, compat), "calm")
        done = combine(world.repository, wish, CREW)
        text = "" if compat is None else f", compat {compat}"
        assert str(done.vector.recipe).endswith(f"density 0.5{text})")
        rename(world.repository, "calm", "quiet")
        made = world.repository.head().vector("quiet")
        assert isinstance(made, DerivedVector)
        assert made.recipe.rule["compat"] == compat
        trees.add(build(world.repository, "base + quiet", CREW).built.tree)
        remove(world.repository, "quiet")
    assert len(trees) == 3


def test_a_vector_made_of_others_has_a_length_of_its_own(world: World, tmp_path: Path) -> None:
    """Twice a vector at half the scale is another vote, and another weight."""
    rescale(world.repository, Scaling("a", 2, "twice"))
    for compat in COMPAT:
        wish = Combination(("twice", "b"), "ties", trimmed(1.0, 1.0, compat), "both")
        combine(world.repository, wish, CREW)
        got = world.weights("base + both", tmp_path / compat)
        taus = world.taus(BIG)[:2] * np.array([[2], [1]])
        wanted = ORACLES[compat](taus, np.array([1, SCALES[1]]), 1.0)
        found = got[BIG].ravel()
        finite = np.isfinite(found)
        assert np.abs(found - wanted)[finite].max() <= 1e-7 * np.abs(taus).max()
        remove(world.repository, "both")
    remove(world.repository, "twice")


def test_what_changes_nothing_costs_nothing(world: World, tmp_path: Path) -> None:
    rescale(world.repository, Scaling("a", 0, "nothing"))
    for compat in COMPAT:
        wish = Combination(("nothing", "b", "c"), "ties", trimmed(1.0, 1.0, compat), "three")
        trim = combine(world.repository, wish, CREW).trim
        assert trim is not None
        assert trim.kept[0] == 0
        got = world.weights("base + three", tmp_path / compat)
        taus = world.taus(NORM) * np.array([[0], [1], [1]])
        wanted = ORACLES[compat](taus, np.array([1, *SCALES[1:]]), 1.0)
        assert np.abs(got[NORM] - wanted).max() <= 1e-7 * np.abs(taus).max()
        remove(world.repository, "three")
        wish = Combination(("b", "c"), "ties", trimmed(0.5, 1.0, compat), "two")
        trim = combine(world.repository, wish, CREW).trim
        assert trim is not None
        assert set(trim.tensors) == set(SHAPES) - {Q}  # which neither changes
        remove(world.repository, "two")
    remove(world.repository, "nothing")


def test_one_vector_alone(world: World) -> None:
    """mergekit gives it back whatever its scale is; PEFT scales it."""
    whole = build(world.repository, "base + b", CREW).built.tree
    scaled = build(world.repository, f"base + {SCALES[1]}*b", CREW).built.tree
    for compat, tree in (("mergekit", whole), ("peft", scaled)):
        combine(
            world.repository, Combination(("b",), "ties", trimmed(1.0, 1.0, compat), "alone"), CREW
        )
        assert build(world.repository, "base + alone", CREW).built.tree == tree
        remove(world.repository, "alone")


def test_a_scale_of_zero_votes_by_the_rule_of_peft(world: World, tmp_path: Path) -> None:
    scales = np.array([0, *SCALES[1:]])
    rescale(world.repository, Scaling("a", 0))
    for compat in COMPAT:
        name, _ = world.combine(compat, 0.5)
        got = world.weights(f"base + {name}", tmp_path / compat)
        taus = world.taus(Q)
        error = np.abs(got[Q].ravel() - ORACLES[compat](taus, scales, 0.5)).max()
        assert error <= 1e-7 * np.abs(taus).max()
        remove(world.repository, name)
    rescale(world.repository, Scaling("a", 1))


@pytest.mark.parametrize(
    ("method", "factor", "compat", "words"),
    [
        ("ties", 1.0, "nobody", "its compat is 'nobody', not mergekit or peft"),
        ("sum", 1.0, "peft", "it has no compat; it has lambda"),
        ("ties", 0.5, "peft", "peft has no lambda, which is 0.5 here and not 1"),
    ],
)
def test_rules_that_cannot_be_followed(
    world: World, method: str, factor: float, compat: str, words: str
) -> None:
    given: dict[str, Value] = {"lambda": factor, "compat": compat}
    with pytest.raises(ParameterError, match=words) as caught:
        combine(world.repository, Combination(NAMES, method, given, "x"), CREW)
    assert caught.value.method == method


def test_integers_and_shapes_are_refused(world: World, tmp_path: Path) -> None:
    counted = {**world.results["a"], "steps": models.tensor(np.arange(2) + 1, "I64")}
    source = models.save(tmp_path / "from-d", counted)
    commit(world.repository, Wish("d", onto="base", aside=True), CheckpointSource(source), CREW)
    with pytest.raises(IdentityError):
        combine(
            world.repository, Combination(("a", "d"), "ties", trimmed(0.5, 1.0, "peft"), "x"), CREW
        )
    remove(world.repository, "d")


# What is identified

LINKS = [Link(b"\1" * 32, b"\1" * 32, bytes([n]) * 32, b"\4" * 32) for n in (2, 3)]
PARTS = (FormulaPart(1.0, LINKS[0]), FormulaPart(-0.5, LINKS[1]))


def ties(parts: tuple[FormulaPart, ...], *parameters: Any) -> Mix:
    return Mix(Rule(METHODS["ties"], tuple(trimmed(*parameters).items())), parts)


def test_digests() -> None:
    digests = {compat: ties(PARTS, 0.2, 1.5, compat).digest().hex() for compat in (None, *COMPAT)}
    assert digests == {
        None: "e1091f6474a8116e5d6eb741a824650634f0c23f87e745d9960a618220612918",
        "mergekit": "34bbed9b1dc5e13a1391fd57b83a4f02a3e1c03568baa4bef3d34b1aa7419f74",
        "peft": "50ec55f9abbae94b90e7bc0c7bd0788c8ff3e6290c1c42624ab7f5df060e6d3f",
    }
    start = Formula(b"\1" * 32, Built(b"\1" * 32, b"\4" * 32))
    added = start.add(FormulaPart(0.5, ties(PARTS, 0.2, 1.5)))
    assert (
        added.digest().hex() == "7d7d2375c603904bd5b171a6d1d6ecdf2041699d0cb2c55f03b06c45eb6a6193"
    )


def test_what_is_simplified() -> None:
    a, b = LINKS
    negated = Mix(SUM, (FormulaPart(-1.0, a),))
    again = Mix(SUM, (FormulaPart(-1.0, negated),))
    for compat in COMPAT:
        mix = ties(
            (FormulaPart(2.0, again), FormulaPart(0.5, negated), FormulaPart(0.0, b)),
            0.5,
            1.0,
            compat,
        )
        parts = [FormulaPart(2.0, a), FormulaPart(0.5, negated)]
        if compat == "peft":
            parts.append(FormulaPart(0.0, b))
        assert reduced(FormulaPart(3.0, mix)) == FormulaPart(
            3.0, ties(tuple(parts), 0.5, 1.0, compat)
        )
    alone = (FormulaPart(-2.0, a),)
    assert reduced(FormulaPart(3.0, ties(alone, 1.0, 0.5, "mergekit"))) == FormulaPart(1.5, a)
    assert reduced(FormulaPart(3.0, ties(alone, 1.0, 1.0, "peft"))) == FormulaPart(-6.0, a)
    assert reduced(FormulaPart(3.0, ties(alone, 1.0, 0.5))) == FormulaPart(-3.0, a)
    for compat in COMPAT:
        nothing = ties((FormulaPart(0.0, a),), 1.0, 1.0, compat)
        assert reduced(FormulaPart(3.0, nothing)).scale == 0


def test_names_lead_to_the_rule(world: World) -> None:
    name, _ = world.combine("peft", 0.9)
    head = world.repository.head()
    operand = Names(head.config, head.vector).part(name, 1.0).operand
    assert isinstance(operand, Mix)
    assert operand.rule["compat"] == "peft"
    remove(world.repository, name)
