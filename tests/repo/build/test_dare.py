"""DARE on whole models: against the paper in float64, with the bits that the format page says."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pvc.parallel import Crew
from pvc.repo.commands.build import build
from pvc.repo.commands.combine import Combination, combine
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.scale import Scaling, rescale
from pvc.repo.personality.vector import DerivedVector
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import object_id
from tests.merge.test_dare import reference
from tests.repo.build.test_compat import BIG, CREW, NAMES, NORM, ONE, SCALES, Q, World
from tests.support import models
from tests.support.philox import words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvc.merge.parameters import Value

METHODS = ("dare_linear", "dare_ties")
GIVEN: dict[str, Value] = {"density": 0.3, "lambda": 1.5, "seed": 7}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("dare"), "F32")
    yield made
    made.repository.close()


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("coarse"), "BF16")
    yield made
    made.repository.close()


def derive(world: World, name: str, method: str, given: dict[str, Value], *names: str) -> None:
    combine(world.repository, Combination(names or NAMES, method, given, name), CREW)


def tree(world: World, text: str, threads: int = 2) -> bytes:
    return build(world.repository, text, Crew(threads=threads)).built.tree


def masks(world: World, tensor: str, elements: range, given: dict[str, Any]) -> Any:
    """1 where an element of a vector is kept, a row for each vector."""
    found = []
    for name in NAMES:
        vector = models.captured(world.repository.head(), name)
        trees = [vector.from_tree.hex(), vector.to_tree.hex()]
        identity = object_id(json.dumps([1, trees]).encode())
        row = np.array(words(given["seed"], tensor, identity, elements))
        found.append(row < int(given["density"] * 2**32))
    return np.stack(found).astype(np.float64)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_is_what_the_paper_says(world: World, tmp_path: Path, method: str) -> None:
    derive(world, "calm", method, GIVEN)
    got = world.weights("base + calm", tmp_path / "out")
    border = BLOCK_BYTES // 4
    ranges = {
        BIG: [range(4, 600), range(border - 300, border + 300), range(716_200, 716_800)],
        Q: [range(96 * 64)],
        NORM: [range(3)],
        ONE: [range(1)],
    }
    for tensor, parts in ranges.items():
        found, taus = got[tensor].ravel(), world.taus(tensor)
        for elements in parts:
            kept, mine = masks(world, tensor, elements, GIVEN), taus[:, elements]
            wanted = reference(method, mine, SCALES, kept, GIVEN)
            error = np.abs(found[elements] - wanted)
            assert np.all(error <= (2.0**-24 + 1e-14) * np.abs(wanted)), (tensor, elements)
            assert np.array_equal(found[elements] == 0, wanted == 0)
    assert np.signbit(got[BIG][0, 0])
    assert got["steps"].tolist() == [0, 1]
    remove(world.repository, "calm")


@pytest.mark.parametrize("method", METHODS)
def test_the_tree_does_not_depend_on_threads(coarse: World, method: str) -> None:
    derive(coarse, "calm", method, GIVEN)
    trees = set()
    for threads in (1, 2, 4):
        shutil.rmtree(coarse.repository.folder / "built", ignore_errors=True)
        trees.add(tree(coarse, "base + 0.5*a + calm", threads))
    assert len(trees) == 1
    assert not fsck(coarse.repository, CREW).findings
    remove(coarse.repository, "calm")


def test_the_recipe_says_all(world: World) -> None:
    derive(world, "calm", "dare_linear", {})
    made = world.repository.head().vector("calm")
    assert isinstance(made, DerivedVector)
    assert made.recipe.rule.values == (("density", 0.5), ("lambda", 1.0), ("seed", 0))
    assert made.counts == ()
    words_of = "dare_linear(a + 0.37*b + 0.8*c, density 0.5, seed 0)"
    assert str(made.recipe) == words_of
    document = json.loads((world.repository.root / "vectors" / "calm.json").read_text())
    assert document["recipe"] == {
        "method": "dare_linear",
        "terms": [["a", "1.0"], ["b", "0.37"], ["c", "0.8"]],
        "density": "0.5",
        "lambda": "1.0",
        "seed": "0",
    }
    before = tree(world, "base + calm")
    rename(world.repository, "calm", "quiet")
    assert tree(world, "base + quiet") == before
    remove(world.repository, "quiet")


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_matters(world: World, method: str) -> None:
    trees = set()
    changes: list[dict[str, Value]] = [{}, {"seed": 8}, {"density": 0.31}, {"lambda": 1.0}]
    for at, change in enumerate(changes):
        derive(world, f"calm{at}", method, {**GIVEN, **change})
        trees.add(tree(world, f"base + calm{at}"))
        remove(world.repository, f"calm{at}")
    assert len(trees) == 4


@pytest.mark.parametrize("method", METHODS)
def test_it_can_be_a_term_of_others(world: World, tmp_path: Path, method: str) -> None:
    derive(world, "calm", method, GIVEN)
    derive(world, "more", "sum", {"lambda": -2.0}, "calm", "b")
    found = world.weights("base + more", tmp_path / "more")[BIG].ravel().astype(np.float64)
    calm = world.weights("base + calm", tmp_path / "calm")[BIG].ravel().astype(np.float64)
    wanted = -2.0 * (calm + SCALES[1] * world.taus(BIG)[1])
    finite = np.isfinite(wanted)
    assert np.all(np.abs(found - wanted)[finite] <= 2.0**-23 * np.abs(wanted)[finite])
    assert np.any(calm[finite])
    for name in ("more", "calm"):
        remove(world.repository, name)


def test_at_density_1_it_is_the_sum(world: World) -> None:
    derive(world, "whole", "dare_linear", {"density": 1.0, "lambda": 0.7})
    derive(world, "plain", "sum", {"lambda": 0.7})
    assert tree(world, "base + whole") == tree(world, "base + plain")
    derive(world, "alone", "dare_ties", {"density": 1.0}, "b")
    assert tree(world, "base + alone") == tree(world, f"base + {SCALES[1]}*b")
    for name in ("whole", "plain", "alone"):
        remove(world.repository, name)


@pytest.mark.parametrize("method", METHODS)
def test_a_vector_keeps_the_same_elements_wherever_it_stands(world: World, method: str) -> None:
    """Neither its name, a term of scale 0 nor the order says which; two halves are the vector."""
    rescale(world.repository, Scaling("a", 0.5, "half"))
    derive(world, "twice", "sum", {"lambda": 2.0}, "half")
    rescale(world.repository, Scaling("b", 0))
    derive(world, "one", method, GIVEN, "a", "b", "c")
    derive(world, "other", method, GIVEN, "c", "twice")
    assert tree(world, "base + one") == tree(world, "base + other")
    rescale(world.repository, Scaling("b", SCALES[1]))
    for name in ("one", "other", "twice", "half"):
        remove(world.repository, name)
