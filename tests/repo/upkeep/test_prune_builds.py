"""Built trees are a cache with a limit; what anything needs stays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.commands.build import build
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.fsck import fsck
from pvc.repo.history.journal import Journal, JournalFile
from pvc.repo.history.recovery import position
from pvc.repo.personality.config import Config, ConfigError
from pvc.repo.repository import Repository
from pvc.repo.upkeep.prune_builds import limit_of, prune
from pvc_store.errors import MissingError
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from tests.repo.conftest import Commit

FORMULAS = ("base + 0.5*listening", "base - listening", "base + 0.25*quiet")


@pytest.fixture
def trees(made: Repository) -> list[bytes]:
    """The trees of FORMULAS, built in this order."""
    found = []
    for at, text in enumerate(FORMULAS):
        found.append(build(made, text, CREW).built.tree)
        for file in (made.folder / "built").glob("*.json"):
            if file.stat().st_mtime > 1e6:
                os.utime(file, (at, at))
    return found


def there(repository: Repository, tree: bytes) -> bool:
    try:
        repository.store.tree(tree)
    except MissingError:
        return False
    return True


def test_the_longest_unused_go_first(made: Repository, trees: list[bytes]) -> None:
    packs = len(made.store.packs.ids())
    total = sum(made.store.pack_size(p) for one in BuiltTrees(made.folder).all() for p in one.packs)
    assert prune(made, total) == 0
    freed = prune(made, total - 1)
    assert freed > 0
    assert [there(made, tree) for tree in trees] == [False, True, True]
    assert len(made.store.packs.ids()) == packs - 1
    assert fsck(made, CREW).findings == ()
    assert prune(made, 0) > 0
    assert [there(made, tree) for tree in trees] == [False, False, True]  # the last one stays
    for text, tree in zip(FORMULAS, trees, strict=True):
        assert build(made, text, CREW).built.tree == tree


@pytest.mark.parametrize("lost", ["pack", "tree", "built"])
def test_what_is_lost_is_computed_again(
    made: Repository, trees: list[bytes], tmp_path: Path, lost: str
) -> None:
    (one,) = (one for one in BuiltTrees(made.folder).all() if one.tree == trees[1])
    files = {
        "pack": [
            made.folder / "packs" / pack.hex()[:2] / f"{pack.hex()}.pack" for pack in one.packs
        ],
        "tree": [made.store.object_path("tree", one.tree)],
        "built": [made.folder / "built" / f"{one.digest.hex()}.json"],
    }
    for file in files[lost]:
        file.unlink()
    with Repository.open(made.root) as again:
        checkout(again, FORMULAS[1], DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
        assert build(again, FORMULAS[1], CREW).built.tree == trees[1]
        done = build(again, FORMULAS[1], CREW)
        assert (done.built.tree, done.computed) == (trees[1], False)
        assert fsck(again, CREW).findings == ()


def test_use_counts(made: Repository, trees: list[bytes]) -> None:
    build(made, FORMULAS[0], CREW)
    prune(made, 0)
    assert [there(made, tree) for tree in trees] == [True, False, False]


def test_a_checked_out_tree_stays(made: Repository, trees: list[bytes], tmp_path: Path) -> None:
    checkout(made, FORMULAS[0], DirectoryTarget(tmp_path / "served"), keep_head=True, crew=CREW)
    build(made, FORMULAS[2], CREW)
    prune(made, 0)
    assert [there(made, tree) for tree in trees] == [True, False, True]
    made.targets.forget(tmp_path / "served")
    prune(made, 0)
    assert [there(made, tree) for tree in trees] == [False, False, True]


def test_what_a_vector_was_trained_from_stays(
    made: Repository, trees: list[bytes], do_commit: Commit, tmp_path: Path
) -> None:
    served = tmp_path / "served"
    checkout(made, FORMULAS[0], DirectoryTarget(served), keep_head=True, crew=CREW)
    before = models.contents(served)
    checkout(made, "base", DirectoryTarget(served), keep_head=True, crew=CREW)
    done = do_commit("again", _directory(made, tmp_path), onto=FORMULAS[0], aside=True)
    assert done.vector.from_tree == trees[0]
    prune(made, 0)
    assert there(made, trees[0])
    assert fsck(made, CREW).findings == ()
    checkout(made, FORMULAS[0], DirectoryTarget(served), keep_head=True, crew=CREW)
    assert models.contents(served) == before


def _directory(made: Repository, tmp_path: Path) -> Path:
    checkout(
        made,
        "base + 0.75*listening",
        DirectoryTarget(tmp_path / "tuned"),
        keep_head=True,
        crew=CREW,
    )
    made.targets.forget(tmp_path / "tuned")
    return tmp_path / "tuned"


def test_packs_that_a_vector_came_to_need_stay(
    made: Repository, do_commit: Commit, tmp_path: Path
) -> None:
    """A captured tree whose bytes were there already, since they had been built."""
    do_commit("half", _directory(made, tmp_path), onto="base", aside=True)
    vector = models.captured(made.head(), "half")
    build(made, FORMULAS[1], CREW)
    prune(made, 0)
    assert there(made, vector.to_tree)
    assert fsck(made, CREW).findings == ()
    checkout(made, "half", DirectoryTarget(tmp_path / "again"), keep_head=True, crew=CREW)
    assert models.contents(tmp_path / "again") == models.contents(tmp_path / "tuned")


def test_nothing_goes_where_something_cannot_be_read(made: Repository, trees: list[bytes]) -> None:
    (made.folder / "targets").mkdir(exist_ok=True)
    bad = made.folder / "targets" / "bad.json"
    bad.write_text("{")
    assert prune(made, 0) == 0
    bad.unlink()
    file = JournalFile(made)
    file.begin(Journal(made.home, made.root, position(made.git), None))
    assert prune(made, 0) == 0
    file.end()
    with made.store.writing():
        assert prune(made, 0) == 0
    assert all(there(made, tree) for tree in trees)


def test_the_limit_is_in_the_configuration(made: Repository) -> None:
    config = made.head().config
    base = made.store.tree(config.base_tree)
    assert limit_of(made, config) == 4 * sum(tensor.nbytes for tensor in base.values())
    text = config.to_text() + "\n[build]\ncache_gb = 0.5\n"
    assert limit_of(made, Config.parse(text)) == 500_000_000
    for wrong in ("-1", "nan", "inf", "true", '"1"', "1e10"):
        with pytest.raises(ConfigError):
            Config.parse(text.replace("0.5", wrong))
    with pytest.raises(ConfigError):
        Config.parse(config.to_text() + "\n[build]\n")


def test_a_build_keeps_to_the_limit(made: Repository, trees: list[bytes]) -> None:
    (made.root / "pvc.toml").write_text(made.head().config.to_text() + "[build]\ncache_gb = 0\n")
    from pvc.repo.commands.commit_edits import commit_edits

    commit_edits(made, "no cache")
    build(made, "base + 0.125*quiet", CREW)
    assert len(BuiltTrees(made.folder).all()) == 1
    assert not any(there(made, tree) for tree in trees)
