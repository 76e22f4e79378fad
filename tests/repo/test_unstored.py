"""Trees that were computed for a new directory are not stored; nothing is lost by that."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.merge.dialect import DIALECTS
from pvc.repo import directory as directory_module
from pvc.repo.built_trees import BuiltTree, BuiltTrees, keys_of
from pvc.repo.checkout import checkout
from pvc.repo.edits import remove
from pvc.repo.formula import Built, Formula, Link, Mix, Part
from pvc.repo.formula_text import formula_json, read_formula
from pvc.repo.fsck import fsck
from pvc.repo.pruning import prune
from pvc.repo.realise import OtherTreeComputedError
from tests.repo import models
from tests.repo.conftest import CREW, git

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository
    from tests.repo.conftest import Commit

SUM = "base + 0.5*listening - 0.25*quiet"


@pytest.fixture
def out(made: Repository, tmp_path: Path) -> Path:
    """A new directory with a computed tree."""
    checkout(made, SUM, tmp_path / "out", keep_head=True, crew=CREW)
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
    tree, packs = record(made).tree, made.store.packs.names()
    assert not is_stored(made, tree)
    before = models.contents(out)
    checkout(made, SUM, out, keep_head=True, crew=CREW)  # which overwrites nothing
    assert made.store.packs.names() == packs
    checkout(made, "main", out, keep_head=True, crew=CREW)
    assert is_stored(made, tree)
    checkout(made, SUM, out, keep_head=True, crew=CREW)
    assert models.contents(out) == before
    assert not fsck(made, CREW).findings


@pytest.mark.parametrize("moment", ["early", "late"])
def test_an_update_that_fails_is_undone(
    made: Repository, out: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    before, update = models.contents(out), directory_module.update
    calls: list[object] = []

    def failing(*arguments: object) -> None:
        calls.append(arguments)
        if moment == "late" or len(calls) > 1:
            update(*arguments)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(directory_module, "update", failing)
    with pytest.raises(OSError, match="Input/output"):
        checkout(made, "main", out, keep_head=True, crew=CREW)
    assert len(calls) == 2
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
    assert done.vector.origin == tree
    assert is_stored(made, tree)
    prune(made, 0)
    checkout(made, "further", tmp_path / "again", keep_head=True, crew=CREW)
    assert not fsck(made, CREW).findings
    if known:
        made.targets.forget(out)
        checkout(made, SUM, tmp_path / "before", keep_head=True, crew=CREW)
        assert models.contents(tmp_path / "before") == before
    assert models.contents(out) == after


def test_what_it_is_computed_from_is_needed(made: Repository, out: Path) -> None:
    """Also when no history has it any more."""
    vector = models.captured(made.head(), "quiet")
    git(made.root, "reset", "-q", "--hard", "v1")
    git(made.root, "reflog", "expire", "--expire=now", "--all")
    git(made.root, "gc", "-q", "--prune=now")
    tree = made.store.tree(vector.result)
    assert prune(made, 0) == 0
    assert not fsck(made, CREW).findings
    before = models.contents(out)
    checkout(made, "v1", out, keep_head=True, crew=CREW)
    prune(made, 0)
    made.targets.forget(out)
    formula = record(made).formula
    assert tree.id in {link.result for link in formula.links}
    made.store.object_path("tree", vector.result).unlink()
    assert not fsck(made, CREW).findings
    assert before != models.contents(out)


def test_fsck_names_what_cannot_be_computed(made: Repository, out: Path) -> None:
    quiet = models.captured(made.head(), "quiet")
    git(made.root, "reset", "-q", "--hard", "v1")
    git(made.root, "reflog", "expire", "--expire=now", "--all")
    path = made.store.object_path("tree", quiet.result)
    kept = path.read_bytes()
    path.unlink()
    (one,) = fsck(made, CREW).findings
    assert (one.what, one.name) == ("tree", quiet.result.hex())
    assert one.dependents == (f"the target {out}",)
    path.write_bytes(kept)
    built = record(made)
    BuiltTrees(made.folder).forget(built.digest)
    (one,) = fsck(made, CREW).findings
    assert (one.what, one.name) == ("tree", built.tree.hex())
    assert one.dependents == (f"the target {out}",)
    assert "not known how" in one.detail


def test_a_formula_that_gives_another_tree_is_noticed(made: Repository, out: Path) -> None:
    built, before = record(made), models.contents(out)
    checkout(made, SUM + " + 0.5*quiet", out.with_name("other"), keep_head=True, crew=CREW)
    cache = BuiltTrees(made.folder)
    (other,) = (one for one in cache.all() if one.tree != built.tree)
    cache.forget(built.digest)
    cache.write(BuiltTree(other.formula, built.tree, ()))
    made.store.object_path("tree", other.tree).unlink()
    with pytest.raises(OtherTreeComputedError) as caught:
        checkout(made, "main", out, keep_head=True, crew=CREW)
    assert (caught.value.tree, caught.value.found) == (built.tree, other.tree)
    assert models.contents(out) == before


@pytest.mark.parametrize("damage", ["formula", "tree", "check", "name"])
def test_a_damaged_record_is_none(made: Repository, out: Path, damage: str) -> None:
    (file,) = (made.folder / "built").glob("*.json")
    text = file.read_text()
    if damage == "name":
        file.rename(file.with_name(f"{'0' * 64}.json"))
    elif damage == "formula":
        file.write_text(text.replace((0.5).hex(), (0.25).hex()))
    else:
        start = text.index(f'"{damage}"', text.index('"label"')) + len(damage) + 5
        file.write_text(text[:start] + ("1" if text[start] == "0" else "0") + text[start + 1 :])
    assert BuiltTrees(made.folder).all() == []


ids = st.binary(min_size=32, max_size=32)
floats = st.floats(allow_nan=False, allow_infinity=False)
link_strategy = st.builds(Link, ids, ids, ids, ids, st.none() | ids)
operands = st.recursive(
    link_strategy,
    lambda inner: st.builds(
        Mix,
        st.sampled_from(["sum", "ties"]),
        st.lists(st.builds(Part, floats, inner, st.text()), max_size=3).map(tuple),
        floats,
        floats,
        st.sampled_from(list(DIALECTS)),
    ),
    max_leaves=5,
)
parts = st.lists(st.builds(Part, floats, operands, st.text()), max_size=3).map(tuple)


@given(st.builds(Formula, ids, st.builds(Built, ids, ids), parts))
def test_formulas_are_read_as_they_were_written(formula: Formula) -> None:
    found = read_formula(formula_json(formula))
    assert (found, found.digest()) == (formula, formula.digest())
    assert formula_json(found) == formula_json(formula)
