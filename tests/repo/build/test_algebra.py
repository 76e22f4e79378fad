"""Sums, scales, TIES and expressions, against plain numpy on whole models."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pvc.merge.method import ParameterError
from pvc.merge.methods import SUM
from pvc.parallel import Crew
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.build.overflow import NotFiniteError
from pvc.repo.build.tensor_routes import IdentityError
from pvc.repo.commands.build import OtherTreeBuiltError, build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.combine import Combination, RepeatedVectorError, combine
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.diff_vectors import relate
from pvc.repo.commands.editing import DependentError, NameTakenError
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.scale import RepeatedTermError, ScaleError, Scaling, rescale
from pvc.repo.history.notes import is_current, read_note
from pvc.repo.history.recording import NothingChangedError
from pvc.repo.history.revision import resolve
from pvc.repo.personality.expression import ExpressionError
from pvc.repo.personality.formula import ROUNDING
from pvc.repo.personality.personality_file import Term
from pvc.repo.personality.resolve import Names, UnresolvableError
from pvc.repo.personality.vector import DerivedVector, Recipe
from pvc.repo.repository import Repository
from tests.support import models
from tests.support.merging import trimmed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc.repo.personality.vector import Vector
    from tests.repo.conftest import Commit
    from tests.support.models import Model

    Floats = NDArray[Any]

CREW = Crew(threads=2)
BIG = "model.embed_tokens.weight"
SHAPES = {BIG: (700, 1024), "model.layers.0.self_attn.q_proj.weight": (96, 64), "scalar": ()}
NAMES = ("a", "b", "c")


def base_of(dtype: str) -> Model:
    """A base with special numbers, and integers."""
    found = models.model(dtype=dtype, shapes=SHAPES)
    values = models.numbers(found[BIG]).copy()
    values[0, :4] = [-0.0, 0.0, np.inf, -np.inf]
    found[BIG] = models.tensor(values, dtype)
    found["steps"] = models.tensor(np.arange(8), "I64")
    return found


def trained(base: Model, seed: int, dtype: str | None = None) -> Model:
    """A result of training: a share of the elements moved, special numbers and integers not."""
    random = np.random.default_rng(seed)
    after = dict(base)
    for name, raw in base.items():
        if raw.dtype == "I64":
            continue
        step = random.normal(0, 3e-3, raw.shape) * (random.random(raw.shape) < 0.6)
        old = models.numbers(raw)
        new = old + np.where(np.isfinite(old) & (old != 0), step, 0)
        after[name] = models.tensor(np.where(old == 0, old, new), dtype or raw.dtype)
    return after


class World:
    """A repository with three vectors that are not applied, and what they are made of."""

    def __init__(self, repository: Repository, base: Model, results: dict[str, Model]) -> None:
        self.repository = repository
        self.base = base
        self.results = results

    def taus(self, name: str) -> list[Floats]:
        """The taus of all vectors in one tensor."""
        wide = np.float64 if self.base[name].dtype == "F64" else np.float32
        old = models.numbers(self.base[name]).astype(wide)
        with np.errstate(invalid="ignore"):
            results = (models.numbers(result[name]) for result in self.results.values())
            found: list[Floats] = [np.subtract(new.astype(wide), old) for new in results]
        return [np.nan_to_num(tau, nan=0.0) for tau in found]

    def tree(self, text: str) -> bytes:
        return build(self.repository, text, CREW).built.tree

    def weights(self, text: str, to: Path, *, allow_nonfinite: bool = False) -> Model:
        """The weights of a revision, read from a checkout by the library of the format."""
        from safetensors import safe_open

        checkout(
            self.repository, text, DirectoryTarget(to), keep_head=True, crew=CREW,
            allow_nonfinite=allow_nonfinite,
        )  # fmt: skip
        raw = (to / "model.safetensors").read_bytes()
        start = 8 + int.from_bytes(raw[:8], "little")
        found = {}
        with safe_open(to / "model.safetensors", "np") as file:
            names = list(file.keys())
        header = json.loads(raw[8:start])
        for name in names:
            entry = header[name]
            begin, end = entry["data_offsets"]
            data = raw[start + begin : start + end]
            found[name] = models.Raw(entry["dtype"], tuple(entry["shape"]), data)
        return found


def world(tmp_path: Path, dtype: str, master: str | None = None) -> World:
    base = base_of(dtype)
    (tmp_path / "work").mkdir()
    from pvc.repo.commands.init import initialise

    initialise(tmp_path / "work", models.save(tmp_path / "base", base), by_value=True, crew=CREW)
    repository = Repository.open(tmp_path / "work")
    results = {name: trained(base, seed, master) for seed, name in enumerate(NAMES, 1)}
    for name, result in results.items():
        source = models.save(tmp_path / f"from-{name}", result)
        commit(repository, Wish(name, aside=True), CheckpointSource(source), CREW)
    return World(repository, base, results)


def added(world: World, name: str, scales: list[float]) -> Floats:
    """The sum rule: each product and each sum rounded to the float it is computed in."""
    taus = world.taus(name)
    if world.base[name].dtype == "F32":
        old = models.numbers(world.base[name])
        results = (models.numbers(result[name]) for result in world.results.values())
        taus = [np.nan_to_num(new - old, nan=0.0) for new in results]
    acc = models.numbers(world.base[name]).astype(taus[0].dtype)
    for scale, tau in zip(scales, taus, strict=True):
        product = (np.float64(scale) * tau.astype(np.float64)).astype(tau.dtype)
        acc = np.where(product != 0, acc + product, acc)
    return acc


@pytest.mark.parametrize(
    ("dtype", "master"),
    [("BF16", None), ("F16", None), ("F32", None), ("F64", None), ("BF16", "F32"), ("F32", "F64")],
)
def test_a_sum_is_rounded_once(tmp_path: Path, dtype: str, master: str | None) -> None:
    made = world(tmp_path, dtype, master)
    if master == "F64":  # computed in float64
        made.taus = lambda name: [  # type: ignore[method-assign]
            np.nan_to_num(models.numbers(r[name]) - models.numbers(made.base[name]), nan=0.0)
            for r in made.results.values()
        ]
    with np.errstate(invalid="ignore"):
        got = made.weights("base + 0.7*a - 0.5*b + 1.3*c", tmp_path / "out")
        for name, raw in made.base.items():
            if raw.dtype == "I64":
                assert got[name] == raw
                continue
            wanted = models.tensor(added(made, name, [0.7, -0.5, 1.3]), dtype)
            assert (got[name].dtype, got[name].shape) == (dtype, raw.shape)
            assert got[name].data == wanted.data, name
    made.repository.close()


def test_float32_is_the_number_nearest_to_the_exact_sum(tmp_path: Path) -> None:
    made = world(tmp_path, "F32")
    name = "model.layers.0.self_attn.q_proj.weight"
    got = models.numbers(made.weights("base + 0.4*a + 0.4*b + 0.4*c", tmp_path / "out")[name])
    old = models.numbers(made.base[name]).ravel()
    new = [models.numbers(result[name]).ravel() for result in made.results.values()]
    for i in np.flatnonzero(np.isfinite(old))[:2000]:
        taus = [Fraction(float(one[i])) - Fraction(float(old[i])) for one in new]
        exact = Fraction(float(old[i])) + sum(Fraction(0.4) * tau for tau in taus)
        away, least = (
            abs(Fraction(float(one)) - exact) for one in (got.ravel()[i], nearest(exact))
        )
        assert away <= least + abs(exact) / 2**50, i  # float64 cannot tell a tie from a near tie
    made.repository.close()


def nearest(exact: Fraction) -> np.float32:
    """The float32 that is nearest to a fraction."""
    near = np.float32(float(exact))
    candidates = (np.nextafter(near, np.float32(way)) for way in (-np.inf, np.inf))
    return min((near, *candidates), key=lambda one: abs(Fraction(float(one)) - exact))


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = world(tmp_path_factory.mktemp("three"), "F32")
    yield made
    made.repository.close()


def ties(taus: list[Floats], scales: list[float], density: float) -> Floats:
    """TIES as the paper has it, in float64, over the whole model at once."""
    kept = []
    for scale, tau in zip(scales, taus, strict=True):
        rank = tau.size - int(tau.size * density)
        sizes = np.sort(np.abs(tau))
        threshold = sizes[rank - 1] if rank else 0
        kept.append(np.where(np.abs(tau) >= threshold, scale * tau.astype(np.float64), 0))
    stack = np.stack(kept)
    sign = np.sign(stack.sum(0))
    majority = 1 if sign.sum() > 0 else -1
    sign = np.where(sign == 0, majority, sign)
    agreeing = np.where(np.sign(stack) == sign, stack, 0)
    mean: Floats = agreeing.sum(0) / np.maximum((agreeing != 0).sum(0), 1)
    return mean


@pytest.mark.parametrize(("density", "factor"), [(0.2, 1.0), (0.5, 1.5), (1.0, 1.0)])
def test_ties_over_the_whole_model(
    three: World, tmp_path: Path, density: float, factor: float
) -> None:
    name = f"ties_{density}_{factor}".replace(".", "_")
    repository = three.repository
    rescale(repository, Scaling("b", -0.5))
    combine(repository, Combination(NAMES, "ties", trimmed(density, factor), name), CREW)
    made = repository.head().vector(name)
    assert isinstance(made, DerivedVector)
    assert [term.scale for term in made.recipe.terms] == [1, -0.5, 1]
    elements = dict(made.counts)["elements"]
    assert dict(made.counts)["kept a"] == pytest.approx(min(density, 0.6) * elements, rel=0.01)
    got = three.weights(f"base + {name}", tmp_path / "out")
    floats = [n for n, raw in three.base.items() if raw.dtype == "F32"]
    flat = [np.concatenate([three.taus(n)[k].ravel() for n in floats]) for k in range(3)]
    wanted = factor * ties(flat, [1, -0.5, 1], density)
    base = np.concatenate([models.numbers(three.base[n]).ravel() for n in floats])
    found = np.concatenate([models.numbers(got[n]).ravel() for n in floats])
    finite = np.isfinite(base)
    exact = (base + wanted.astype(np.float32)).astype(np.float32)
    assert np.array_equal(found[finite], exact[finite])
    assert np.array_equal(found[~finite], base[~finite])
    rescale(repository, Scaling("b", 0))


def test_what_changes_nothing_leads_to_the_same_tree(three: World) -> None:
    repository = three.repository
    tree = models.captured(repository.head(), "a").to_tree
    rescale(repository, Scaling("a", -1, "minus"))
    rescale(repository, Scaling("minus", -1, "again"))
    combine(repository, Combination(("a",), "ties", trimmed(1.0), "alone"), CREW)
    sums = ("a + b - b", "2*(a + 0.5*b) - a - b", "base + a + 0*b", "base - minus")
    for text in ("a", "base + a", "a@HEAD", "base + again", "base + alone", *sums):
        assert three.tree(text) == tree, text
    base = repository.head().config.base_tree
    for text in ("base", "base + a - a", "base + a + minus"):
        assert three.tree(text) == base, text
    assert three.tree("base + a + b") != three.tree("base + a")
    for name in ("again", "minus", "alone"):
        remove(repository, name)


def test_the_tree_does_not_depend_on_threads(tmp_path: Path) -> None:
    made = world(tmp_path, "BF16")
    combine(made.repository, Combination(NAMES, "ties", trimmed(0.3), "calm"), CREW)
    trees = set()
    for threads in (1, 2, 4):
        for kept in ("built", "trims"):
            shutil.rmtree(made.repository.folder / kept, ignore_errors=True)
        done = build(made.repository, "base + 0.5*a + calm", Crew(threads=threads))
        assert done.computed
        trees.add(done.built.tree)
    assert not build(made.repository, "base + 0.5*a + calm", CREW).computed
    assert len(trees) == 1
    made.repository.close()


def test_scales_beyond_float64_leave_untouched_elements_alone(three: World, tmp_path: Path) -> None:
    repository = three.repository
    rescale(repository, Scaling("a", 1e200, "huge"))
    rescale(repository, Scaling("huge", -1e200, "beyond"))
    with pytest.raises(NotFiniteError) as caught:
        three.weights("base + beyond", tmp_path / "out")
    assert caught.value.overflows[0].limit == np.finfo(np.float32).max
    got = three.weights("base + beyond", tmp_path / "out", allow_nonfinite=True)
    with pytest.raises(NotFiniteError):  # it is recorded, and said again
        three.tree("base + beyond")
    for name, raw in three.base.items():
        if raw.dtype == "F32":
            before, after = models.numbers(raw), models.numbers(got[name])
            tau = three.taus(name)[0]
            with np.errstate(invalid="ignore"):
                assert np.array_equal(after, np.where(tau == 0, before, -np.inf * np.sign(tau)))
    for name in ("beyond", "huge"):
        remove(repository, name)


def test_terms_are_set_and_built(made: Repository, tmp_path: Path) -> None:
    assert str(rescale(made, Scaling("quiet", -0.5)).personality).endswith("- 0.5*quiet")
    assert read_note(made, made.head().commit) is None
    done = build(made, "HEAD", CREW)
    assert done.computed
    assert read_note(made, made.head().commit) == done.built
    with pytest.raises(NothingChangedError, match="the personality is"):
        rescale(made, Scaling("quiet", -0.5))
    with pytest.raises(ScaleError):
        rescale(made, Scaling("quiet", float("nan")))
    with pytest.raises(NameTakenError):
        rescale(made, Scaling("quiet", 2, "listening"))
    merged = combine(made, Combination(("listening", "quiet"), "sum"), CREW)
    assert str(merged.edited.personality) == "base + listening_quiet + suggesting"
    checkout(made, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)


@pytest.mark.parametrize("is_of_today", [True, False])
def test_a_note_of_another_tree(made: Repository, is_of_today: bool) -> None:
    """One that an older rounding computed is noted anew."""
    rescale(made, Scaling("quiet", -0.75))
    commit, config = made.head().commit, made.head().config
    note = {"tree": config.base_tree.hex(), "layout": config.base_layout.hex()}
    made.git.add_note(commit, json.dumps(note | ({"rounding": ROUNDING} if is_of_today else {})))
    if is_of_today:
        with pytest.raises(OtherTreeBuiltError):
            build(made, "HEAD", CREW)
    else:
        assert build(made, "HEAD", CREW).built == read_note(made, commit)
        assert is_current(made, commit)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_none(made: Repository, number: float) -> None:
    before = made.head().commit
    with pytest.raises(ParameterError, match=r"its lambda is -?(nan|inf), not finite"):
        combine(made, Combination(("listening", "quiet"), "sum", {"lambda": number}), CREW)
    for density in (number, 0.0, -0.5, 1.5):
        with pytest.raises(ParameterError, match=r"its density is .+, not above 0 and at most 1"):
            combine(made, Combination(("listening", "quiet"), "ties", trimmed(density)), CREW)
    assert made.head().commit == before
    rescale(made, Scaling("quiet", -0.0))
    assert "-0" not in (made.root / "personality.toml").read_text()


def test_names_for_what_takes_the_place_of_terms(made: Repository) -> None:
    for scale in (1.0, 0.5):  # the second time, the name is taken
        rescale(made, Scaling("quiet", scale))
        combine(made, Combination(("listening", "suggesting"), "sum", {"lambda": scale}), CREW)
    assert str(made.head().personality) == (
        "base + listening_suggesting + 0.5*quiet + listening_suggesting_2"
    )
    combine(made, Combination(("quiet",), "ties", trimmed(0.5)), CREW)
    assert str(made.head().personality) == (
        "base + listening_suggesting + quiet_2 + listening_suggesting_2"
    )
    rename(made, "quiet_2", "q" * 90)
    combine(made, Combination((), "sum"), CREW)
    assert str(made.head().personality) == "base + sum_of_3"
    with pytest.raises(NothingChangedError, match="the personality is"):
        combine(made, Combination((), "sum"), CREW)
    with pytest.raises(RepeatedVectorError):
        combine(made, Combination(("quiet", "quiet"), "sum"), CREW)


def test_vectors_that_are_made_of_too_many(made: Repository) -> None:
    head = made.head()
    vectors: dict[str, Vector] = {"v0": head.vector("quiet")}
    for at in range(1, 200):
        vectors[f"v{at}"] = DerivedVector(Recipe(SUM, (Term(f"v{at - 1}"),)))
    for at in range(20):
        twice = (Term(f"w{at - 1}" if at else "v0"), Term(f"w{at - 1}" if at else "v0", 2))
        vectors[f"w{at}"] = DerivedVector(Recipe(SUM, twice))
    names = Names(head.config, vectors.__getitem__)
    assert names.part("v90", 1.0).label == "v90"
    with pytest.raises(UnresolvableError, match="v199 cannot be made of others more than 100 deep"):
        Names(head.config, vectors.__getitem__).part("v199", 1.0)
    with pytest.raises(UnresolvableError, match="w13 comes to 16384 captured vectors"):
        names.part("w19", 1.0)


def test_the_same_vector_twice(made: Repository) -> None:
    file = made.root / "personality.toml"
    file.write_text(2 * '[[term]]\nvector = "listening"\n')
    from pvc.repo.commands.commit_edits import commit_edits

    commit_edits(made, "twice")
    twice = build(made, "HEAD", CREW).built.tree
    assert twice != build(made, "base + 0.5*listening", CREW).built.tree
    with pytest.raises(RepeatedTermError):
        rescale(made, Scaling("listening", 0.5))
    with pytest.raises(RepeatedTermError):
        combine(made, Combination((), "sum"), CREW)


def test_names_in_recipes(made: Repository) -> None:
    combine(made, Combination(("listening", "quiet"), "ties", trimmed(0.5), "calm"), CREW)
    tree = build(made, "base + calm", CREW).built.tree
    with pytest.raises(DependentError) as caught:
        remove(made, "quiet")
    assert caught.value.dependents == ("the vector calm",)
    rename(made, "quiet", "silent")
    assert build(made, "base + calm", CREW).built.tree == tree
    remove(made, "calm")
    remove(made, "silent")


def test_training_goes_on_from_a_sum(made: Repository, tmp_path: Path, do_commit: Commit) -> None:
    rescale(made, Scaling("quiet", -0.5))
    out = tmp_path / "out"
    checkout(made, "HEAD", DirectoryTarget(out), keep_head=False, crew=CREW)
    raw = bytearray((out / "model.safetensors").read_bytes())
    raw[-100:-90] = bytes(10)
    (out / "model.safetensors").write_bytes(raw)
    done = do_commit("further", out)
    assert done.applied
    assert made.head().formula.exact is not None
    assert models.built(made.head()).tree == done.vector.to_tree
    assert build(made, "HEAD~1", CREW).built.tree == done.vector.from_tree


def test_integers_and_shapes_combine_by_identity(tmp_path: Path) -> None:
    made = world(tmp_path, "BF16")
    counted = dict(trained(made.base, 9))
    counted["steps"] = models.tensor(np.arange(8) + 1, "I64")
    source = models.save(tmp_path / "from-d", counted)
    commit(made.repository, Wish("d", aside=True), CheckpointSource(source), CREW)
    got = made.weights("base + 0.5*a + d", tmp_path / "out")
    assert got["steps"] == counted["steps"]
    for text in ("base + 0.5*d", "base - d"):
        with pytest.raises(IdentityError) as caught:
            made.tree(text)
        assert (caught.value.name, caught.value.vector) == ("steps", "d")
    with pytest.raises(IdentityError):
        combine(made.repository, Combination(("a", "d"), "ties", trimmed(0.5), "calm"), CREW)
    made.repository.close()


def test_expressions(made: Repository) -> None:
    for text in ("2*base", "base + HEAD", "HEAD - main + 3*v1", "1e308*v1 + 1e308*v1 + base"):
        with pytest.raises(ExpressionError):
            resolve(made, text)
    for text in ("1.7e308*listening + 1.7e308*listening", "1e200*(1e200*HEAD)"):
        with pytest.raises(ExpressionError, match="not finite"):
            resolve(made, text)
    for text, is_tau in (("0.7*HEAD + 0.2*v1 + 0.1*base", False), ("0.3*v1-0.1*v1-0.2*v1", True)):
        assert resolve(made, text).is_tau == is_tau  # although float64 adds to nearly 1, or 0
    without = resolve(made, "HEAD - suggesting")
    assert (
        build(made, "HEAD - suggesting", CREW).built.tree == models.built(resolve(made, "v1")).tree
    )
    assert not without.is_tau
    assert resolve(made, "listening - 0.5*quiet@HEAD").is_tau
    assert resolve(made, "HEAD - v1").is_tau


def test_relations_against_numpy(three: World) -> None:
    found = relate(three.repository, "a", "0.5*b", "tensor", CREW)
    assert found is not None
    for row in found.rows:
        one, other, _ = (tau.astype(np.float64).ravel() for tau in three.taus(row.label))
        other *= 0.5
        pair, both = row.pair, (one != 0) & (other != 0)
        assert pair.norm_a == pytest.approx(np.linalg.norm(one), rel=1e-6)
        assert pair.norm_b == pytest.approx(np.linalg.norm(other), rel=1e-6)
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        assert pair.cosine == pytest.approx(cosine, abs=1e-6)
        assert pair.changed_a == np.count_nonzero(one)
        assert pair.both == both.sum()
        assert pair.conflicts == (np.sign(one) * np.sign(other) < 0).sum()
        base = models.numbers(three.base[row.label]).astype(np.float32).ravel()
        with np.errstate(invalid="ignore"):
            moved = (base + other.astype(np.float32)) != base
        assert row.effective_b == np.where(other == 0, False, moved).sum()


def test_what_an_older_rounding_built_is_looked_at_again(three: World, tmp_path: Path) -> None:
    """It has no record of what overflowed."""
    repository = three.repository
    rescale(repository, Scaling("a", 1e200, "vast"))
    three.weights("base + 1e200*vast", tmp_path / "out", allow_nonfinite=True)
    cache = BuiltTrees(repository.folder)
    for built in cache.all():
        cache.write(replace(built, overflows=(), rounding=1))
    with pytest.raises(NotFiniteError):
        three.tree("base + 1e200*vast")
    with pytest.raises(NotFiniteError):
        three.weights("base + 1e200*vast", tmp_path / "again")
    remove(repository, "vast")
