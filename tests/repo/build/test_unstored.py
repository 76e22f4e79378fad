"""Trees that were computed for a new directory are not stored; nothing is lost by that."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.repo.build.build_cache import BuiltTree, BuiltTrees, keys_of
from pvc.repo.build.builds import Builds, UnkeptTreeError
from pvc.repo.commands.build import build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.remove import remove
from pvc.repo.personality.formula import Built, Formula, FormulaPart, Link, Mix
from pvc.repo.personality.formula_file import formula_json, read_formula
from pvc.repo.repository import Repository
from pvc.repo.targets import directory as directory_module
from pvc.repo.targets.directory import DriftedError, update
from pvc.repo.upkeep.findings import Findings
from pvc.repo.upkeep.prune_builds import prune
from pvc.repo.upkeep.roots import read_roots
from tests.repo.conftest import CREW, git
from tests.support import models
from tests.support.merging import rules

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.weights.fingerprint import Fingerprint
    from tests.repo.conftest import Commit
    from tests.support.models import Model

SUM = "base + 0.5*listening - 0.25*quiet"


@pytest.fixture
def out(made: Repository, tmp_path: Path) -> Path:
    """A new directory with a computed tree."""
    checkout(made, SUM, DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    return tmp_path / "out"


def is_stored(repository: Repository, tree: bytes) -> bool:
    store = repository.store
    own = keys_of(store.tree(tree)) - keys_of(store.tree(repository.head().config.base_tree))
    return all(map(store.has, own))


def record(repository: Repository) -> BuiltTree:
    (one,) = BuiltTrees(repository.folder).all()
    return one


def train(directory: Path) -> dict[str, bytes]:
    """Change a few weights in place."""
    raw = bytearray((directory / "model.safetensors").read_bytes())
    raw[-100:-90] = bytes(10)
    (directory / "model.safetensors").write_bytes(raw)
    return models.contents(directory)


def test_it_is_stored_before_it_is_overwritten(made: Repository, out: Path) -> None:
    tree, packs = record(made).tree, made.store.packs.ids()
    assert not is_stored(made, tree)
    before = models.contents(out)
    checkout(made, SUM, DirectoryTarget(out), keep_head=True, crew=CREW)  # which overwrites nothing
    assert made.store.packs.ids() == packs
    checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
    assert is_stored(made, tree)
    checkout(made, SUM, DirectoryTarget(out), keep_head=True, crew=CREW)
    assert models.contents(out) == before
    assert not fsck(made, CREW).findings


class Failing:
    """An update of a directory whose first call fails, before it did anything or afterwards."""

    def __init__(self, *, late: bool) -> None:
        self.late = late
        self.calls = 0

    def __call__(self, *arguments: Any) -> Fingerprint:
        self.calls += 1
        done = update(*arguments) if self.late or self.calls > 1 else {}
        if self.calls == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return done


@pytest.mark.parametrize("late", [True, False])
def test_an_update_that_fails_is_undone(
    made: Repository, out: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    before, failing = models.contents(out), Failing(late=late)
    monkeypatch.setattr(directory_module, "update", failing)
    with pytest.raises(OSError, match="Input/output"):
        checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
    assert failing.calls == (2 if late else 1)  # where nothing was written
    assert models.contents(out) == before
    assert not fsck(made, CREW).findings


@pytest.mark.parametrize("known", [True, False])
def test_training_goes_on_from_it(
    made: Repository, out: Path, do_commit: Commit, tmp_path: Path, known: bool
) -> None:
    tree, before, after = record(made).tree, models.contents(out), train(out)
    if not known:  # its vectors are gone from HEAD: only the formula says what it was
        remove(made, "quiet")
    done = do_commit("further", out, aside=True)
    assert done.vector.from_tree == tree
    assert is_stored(made, tree)
    prune(made, 0)
    checkout(made, "further", DirectoryTarget(tmp_path / "again"), keep_head=True, crew=CREW)
    assert not fsck(made, CREW).findings
    if known:
        made.targets.forget(out)
        checkout(
            made, f"{SUM} + further", DirectoryTarget(tmp_path / "after"), keep_head=True, crew=CREW
        )
        assert models.contents(tmp_path / "after") == after
        checkout(made, SUM, DirectoryTarget(tmp_path / "before"), keep_head=True, crew=CREW)
        assert models.contents(tmp_path / "before") == before
    assert models.contents(out) == after


def test_what_it_is_computed_from_is_needed(made: Repository, out: Path) -> None:
    """Also when no history has it any more."""
    vector = models.captured(made.head(), "quiet")
    git(made.root, "reset", "-q", "--hard", "v1")
    git(made.root, "reflog", "expire", "--expire=now", "--all")
    git(made.root, "gc", "-q", "--prune=now")
    tree = made.store.tree(vector.to_tree)
    assert prune(made, 0) == 0
    assert not fsck(made, CREW).findings
    before = models.contents(out)
    checkout(made, "v1", DirectoryTarget(out), keep_head=True, crew=CREW)
    prune(made, 0)
    made.targets.forget(out)
    formula = record(made).formula
    assert tree.id in {link.to_tree for link in formula.links}
    made.store.object_path("tree", vector.to_tree).unlink()
    assert not fsck(made, CREW).findings
    assert before != models.contents(out)


def test_fsck_names_what_cannot_be_computed(made: Repository, out: Path) -> None:
    quiet, built = models.captured(made.head(), "quiet"), record(made)
    git(made.root, "reset", "-q", "--hard", "v1")
    git(made.root, "reflog", "expire", "--expire=now", "--all")
    path = made.store.object_path("tree", quiet.to_tree)
    kept = path.read_bytes()
    path.unlink()
    found = fsck(made, CREW).findings
    assert {one.name for one in found} == {quiet.to_tree.hex(), built.tree.hex()}
    assert {one.dependents for one in found} == {(f"the target {out}",)}
    path.write_bytes(kept)
    assert not fsck(made, CREW).findings
    BuiltTrees(made.folder).forget(built.digest)
    (one,) = fsck(made, CREW).findings
    assert (one.what, one.name) == ("tree", built.tree.hex())
    assert one.dependents == (f"the target {out}",)
    assert "not known how" in one.detail


def test_what_a_formula_starts_from_is_needed_too(made: Repository, tmp_path: Path) -> None:
    checkout(made, "v1 + 0.5*quiet", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    first = git(made.root, "rev-list", "--max-parents=0", "HEAD").strip()
    start = record(made).formula.start
    git(made.root, "reset", "-q", "--hard", first)
    git(made.root, "tag", "-d", "v1")
    git(made.root, "reflog", "expire", "--expire=now", "--all")
    roots = read_roots(made, Findings())
    assert roots.trees[start.tree] == {f"the target {tmp_path / 'out'}"}
    assert roots.base_of[start.tree] == made.head().config.base_tree
    base = made.store.tree(made.head().config.base_tree)
    (own, *_) = keys_of(made.store.tree(start.tree)) - keys_of(base)
    for pack, keys in made.store.keys_in(set(made.store.packs.ids())).items():
        if own in keys:
            (made.folder / "packs" / pack.hex()[:2] / f"{pack.hex()}.pack").unlink()
    with Repository.open(made.root) as again:
        assert own.hex() in {one.name for one in fsck(again, CREW).findings}


def test_a_formula_that_gives_another_tree_is_noticed(made: Repository, out: Path) -> None:
    built, before = record(made), models.contents(out)
    checkout(
        made,
        SUM + " + 0.5*quiet",
        DirectoryTarget(out.with_name("other")),
        keep_head=True,
        crew=CREW,
    )
    cache = BuiltTrees(made.folder)
    (other,) = (one for one in cache.all() if one.tree != built.tree)
    cache.forget(built.digest)
    cache.write(BuiltTree(other.formula, built.tree, ()))
    made.store.object_path("tree", other.tree).unlink()
    again = f"computing it again gives {other.tree.hex()[:12]}"
    for _ in range(2):
        with pytest.raises(UnkeptTreeError, match=again) as caught:
            checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
        assert caught.value.tree == built.tree
    with pytest.raises(UnkeptTreeError, match="computing it again gives"):
        checkout(
            made,
            SUM + " + 0.5*quiet",
            DirectoryTarget(out.with_name("third")),
            keep_head=True,
            crew=CREW,
        )
    assert models.contents(out) == before


def test_nothing_is_written_over_what_cannot_be_had_again(
    made: Repository, out: Path, tmp_path: Path
) -> None:
    before, tree = models.contents(out), record(made).tree
    BuiltTrees(made.folder).forget(record(made).digest)
    assert not Builds(made, made.head().config).can_restore(tree)
    with pytest.raises(UnkeptTreeError, match="it is not known how to compute it"):
        checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
    train(out)
    with pytest.raises(UnkeptTreeError, match="it is not known how to compute it"):
        commit(made, Wish("further", aside=True), CheckpointSource(out), CREW)
    commit(made, Wish("further", onto="base", aside=True), CheckpointSource(out), CREW)
    trained = models.contents(out)
    assert trained != before
    checkout(made, "further", DirectoryTarget(tmp_path / "again"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "again") == trained


def test_what_another_process_stored_is_seen(made: Repository, out: Path) -> None:
    built, config = record(made), made.head().config
    assert made.store.packs.ids()
    with Repository.open(made.root) as other:
        build(other, SUM, CREW)
    BuiltTrees(made.folder).forget(built.digest)
    assert Builds(made, config).can_restore(built.tree)


def test_another_formula_of_the_tree_will_do(made: Repository, out: Path) -> None:
    before, built = models.contents(out), record(made)
    vector = models.captured(made.head(), "suggesting")
    same = f"{SUM} + 1e-300*(HEAD - v1)"
    assert build(made, same, CREW).built.tree == built.tree
    (newer, older) = BuiltTrees(made.folder).of(built.tree)
    assert (newer.formula.links[-1].to_tree, older) == (vector.to_tree, built)
    for pack in newer.packs:
        (made.folder / "packs" / pack.hex()[:2] / f"{pack.hex()}.pack").unlink()
    made.store.object_path("tree", vector.to_tree).unlink()
    with Repository.open(made.root) as again:
        checkout(again, "v1", DirectoryTarget(out), keep_head=True, crew=CREW)
        checkout(again, SUM, DirectoryTarget(out), keep_head=True, crew=CREW)
    assert models.contents(out) == before


def test_training_while_it_is_stored_is_noticed(
    made: Repository, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[dict[str, bytes]] = []

    restore = Builds.restore

    def slowly(builds: Builds, tree: bytes) -> None:
        restore(builds, tree)
        trained.append(train(out))

    monkeypatch.setattr(Builds, "restore", slowly)
    with pytest.raises(DriftedError):
        checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
    assert [models.contents(out)] == trained


def test_a_second_name_of_a_file_needs_no_block(made: Repository, out: Path) -> None:
    before, packs = models.contents(out), made.store.packs.ids()
    os.link(out / "model.safetensors", out.with_name("snapshot"))
    checkout(made, SUM, DirectoryTarget(out), keep_head=True, crew=CREW)
    assert made.store.packs.ids() == packs
    checkout(made, "main", DirectoryTarget(out), keep_head=True, crew=CREW)
    assert out.with_name("snapshot").read_bytes() == before["model.safetensors"]
    assert models.contents(out) != before


@pytest.mark.parametrize("damage", ["formula", "base", "tree", "check", "arithmetic", "name"])
def test_a_damaged_record_is_none(made: Repository, out: Path, damage: str) -> None:
    (file,) = (made.folder / "built").glob("*.json")
    document = json.loads(file.read_text())
    if damage == "name":
        file.rename(file.with_name(f"{'0' * 64}.json"))
    elif damage == "formula":
        document["formula"]["parts"][0]["scale"] = (0.25).hex()
    elif damage == "base":
        document["formula"]["base"] = "0" * 64
    else:
        document[damage] = 2 if damage == "arithmetic" else "0" * 64
    if damage != "name":
        file.write_text(json.dumps(document))
    assert BuiltTrees(made.folder).all() == []


def test_two_bases(
    made: Repository,
    out: Path,
    tmp_path: Path,
    base_model: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An update from what is relative to one base to what is relative to another is undone."""
    before = models.contents(out)
    other = models.save(tmp_path / "other", models.tuned(base_model, 50))
    git(made.root, "checkout", "-q", "--orphan", "second")
    git(made.root, "rm", "-rqf", ".")
    initialise(made.root, other, by_value=True, crew=CREW)
    with Repository.open(made.root) as again:
        monkeypatch.setattr(directory_module, "update", Failing(late=True))
        with pytest.raises(OSError, match="Input/output"):
            checkout(again, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
        assert models.contents(out) == before
        checkout(again, "base", DirectoryTarget(out), keep_head=True, crew=CREW)
        assert models.contents(out)["model.safetensors"] != before["model.safetensors"]
        assert not fsck(again, CREW).findings


ids = st.binary(min_size=32, max_size=32)
floats = st.floats(allow_nan=False, allow_infinity=False)
link_strategy = st.builds(Link, ids, ids, ids, ids, st.none() | ids)
operands = st.recursive(
    link_strategy,
    lambda inner: st.builds(
        Mix,
        rules(),
        st.lists(st.builds(FormulaPart, floats, inner, st.text()), max_size=3).map(tuple),
    ),
    max_leaves=5,
)
parts = st.lists(st.builds(FormulaPart, floats, operands, st.text()), max_size=3).map(tuple)


@given(st.builds(Formula, ids, st.builds(Built, ids, ids), parts))
def test_formulas_are_read_as_they_were_written(formula: Formula) -> None:
    found = read_formula(formula_json(formula))
    assert (found, found.digest()) == (formula, formula.digest())
    assert formula_json(found) == formula_json(formula)
