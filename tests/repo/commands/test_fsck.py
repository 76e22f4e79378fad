"""Fsck: finds what is broken, says what depends on it, and touches nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.remove import remove
from pvc.repo.personality import vector_file
from pvc.repo.personality.vector_file import parse, to_text
from pvc.repo.repository import Repository
from pvc.repo.trees.blocks import BaseFiles, Blocks
from pvc.repo.trees.capture import CaptureOptions, capture
from pvc.weights.checkpoint import Checkpoint
from pvc_store.tree import Tree
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.personality.vector import Vector
    from pvc.repo.upkeep.findings import Finding
    from tests.repo.conftest import Commit
    from tests.support.models import Model


def findings(repository: Repository) -> list[Finding]:
    """What a fresh process finds; that changes nothing."""
    repository.close()
    before = models.contents(repository.root)
    with Repository.open(repository.root) as fresh:
        report = fsck(fresh, CREW)
    after = models.contents(repository.root)
    index = ".git/pvc/index"  # a cache
    assert {**after, index: b""} == {**before, index: b""}
    return list(report.findings)


def named(found: list[Finding], what: str) -> Finding:
    (one,) = [each for each in found if each.what == what]
    return one


def pack_of(repository: Repository, key: bytes) -> Path:
    found = repository.store.index().find(key)
    assert found is not None
    return repository.store.object_path("pack", found[0])


def damage(path: Path, at: int) -> None:
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def drop_object(repository: Repository, revision: str) -> None:
    name = git(repository.root, "rev-parse", revision).strip()
    path = repository.root / ".git" / "objects" / name[:2] / name[2:]
    path.chmod(0o644)
    path.unlink()


def test_a_healthy_repository(made: Repository, tmp_path: Path) -> None:
    checkout(made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    report = fsck(made, CREW)
    assert report.findings == ()
    assert report.commits == 4
    assert report.trees == 4
    blocks = {key for name in made.store.tree_ids() for key in keys_of(made.store.tree(name))}
    assert report.blocks > len(blocks)  # those of other files too
    assert findings(made) == []


def keys_of(tree: Tree) -> set[bytes]:
    return {tensor.key(index) for tensor in tree.values() for index in range(tensor.block_count)}


def test_a_flipped_bit(made: Repository) -> None:
    """Of one vector's block: only what holds that block depends on it."""
    key = made.store.tree(models.captured(made.head(), "quiet").to_tree)["model.norm.weight"].key(0)
    found = made.store.index().find(key)
    assert found is not None
    pack, entry = found
    damage(made.store.object_path("pack", pack), entry.offset + entry.length // 2)
    found_now = findings(made)
    assert {each.what for each in found_now} == {"pack", "block"}
    assert named(found_now, "pack").name == pack.hex()
    block = named(found_now, "block")
    assert block.name == key.hex()
    assert block.dependents == (f"quiet at {made.head().commit[:10]}",)


def test_a_flipped_bit_of_the_base(made: Repository) -> None:
    """All that is stored against it depends on it; the user's own files do not hide it."""
    tensor = made.store.tree(made.head().config.base_tree)["model.norm.weight"]
    found = made.store.index().find(tensor.key(0))
    assert found is not None
    pack, entry = found
    damage(made.store.object_path("pack", pack), entry.offset)
    blocks = {each.name: each for each in findings(made) if each.what == "block"}
    of_base = blocks[tensor.key(0).hex()]
    assert "the base" in of_base.dependents
    names = {name.split(" at ")[0] for each in blocks.values() for name in each.dependents}
    assert names == {"the base", "listening", "suggesting", "quiet"}


def test_the_current_directory_hides_nothing(
    made: Repository, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base)
    test_a_flipped_bit_of_the_base(made)


def test_a_missing_pack(made: Repository) -> None:
    tree = made.store.tree(models.captured(made.head(), "suggesting").to_tree)
    pack = pack_of(made, tree["model.norm.weight"].key(0))
    made.close()
    pack.unlink()
    blocks = [each for each in findings(made) if each.what == "block"]
    assert {each.name for each in blocks} >= {tree["model.norm.weight"].key(0).hex()}
    assert {name.split(" at ")[0] for each in blocks for name in each.dependents} == {"suggesting"}


def test_a_cut_pack(made: Repository) -> None:
    tree = made.store.tree(models.captured(made.head(), "suggesting").to_tree)
    pack = pack_of(made, tree["model.norm.weight"].key(0))
    pack.chmod(0o644)
    os.truncate(pack, pack.stat().st_size - 1)
    (made.folder / "index").unlink()
    found = findings(made)
    assert [each.name for each in found if each.what == "pack"] == [pack.stem]
    assert any("suggesting at" in name for each in found for name in each.dependents)


@pytest.mark.parametrize("sort", ["tree", "layout"])
@pytest.mark.parametrize("how", ["missing", "damaged"])
def test_trees_and_layouts(made: Repository, sort: str, how: str) -> None:
    vector = models.captured(made.head(), "quiet")
    name = vector.to_tree if sort == "tree" else vector.layout
    path = made.store.object_path(sort, name)
    if how == "missing":
        path.unlink()
    else:
        damage(path, 20)
    one = named(findings(made), sort)
    assert one.name == name.hex()
    assert f"quiet at {made.head().commit[:10]}" in one.dependents
    if sort == "tree":
        assert len(one.dependents) == 1


def test_a_missing_base_tree(made: Repository) -> None:
    config = made.head().config
    made.store.object_path("tree", config.base_tree).unlink()
    found = {each.name: each for each in findings(made) if each.what == "tree"}
    assert "the base" in found[config.base_tree.hex()].dependents


def test_a_wrong_layout(made: Repository, tmp_path: Path) -> None:
    """A layout that places tensors which its tree does not have: it can never be checked out."""
    other = models.save(tmp_path / "x", models.model(shapes={"other.weight": (3, 3)}))
    with made.store.writing() as writing:
        with Blocks(writing, Tree([]), BaseFiles(None)) as blocks:
            captured = capture(Checkpoint.open(other), blocks, writing, CaptureOptions(None), CREW)
        layout = writing.put_layout(captured.layout)
    rewrite(made, "quiet", layout=layout)
    one = named(findings(made), "layout")
    assert one.name == layout.hex()
    assert one.dependents == (f"quiet at {made.head().commit[:10]}",)


def rewrite(repository: Repository, name: str, **fields: bytes) -> None:
    """A commit that says something else of a vector."""
    vector = replace(repository.head().vector(name), **fields)  # type: ignore[arg-type]
    (repository.root / "vectors" / f"{name}.json").write_text(to_text(vector))
    git(repository.root, "commit", "-q", "-am", "rewritten")


def test_a_digest_that_does_not_fit(made: Repository) -> None:
    """Every block is what its key says, but the tensor is not what the tree says."""
    vector = models.captured(made.head(), "quiet")
    tree = made.store.tree(vector.to_tree)
    wrong = replace(tree["model.norm.weight"], digest=bytes(32))
    with made.store.writing() as writing:
        name = writing.put_tree(Tree([*(tree[each] for each in tree if each != wrong.name), wrong]))
    rewrite(made, "quiet", to_tree=name)
    (one,) = findings(made)
    assert (one.what, one.name) == ("tensor", "model.norm.weight")
    assert one.dependents == (f"quiet at {made.head().commit[:10]}",)


def test_malformed_manifests_at_an_old_commit(made: Repository) -> None:
    file = made.root / "vectors" / "quiet.json"
    good = file.read_text()
    file.write_text(good.replace('"pvc vector 1"', '"pvc vector 9"'))
    git(made.root, "commit", "-q", "-am", "broken")
    broken = made.head().commit[:10]
    file.write_text(good)
    git(made.root, "commit", "-q", "-am", "mended")
    (one,) = findings(made)
    assert (one.what, one.name) == ("manifest", "vectors/quiet.json")
    assert one.dependents == (f"quiet at {broken}",)
    (made.root / "personality.toml").write_text("nonsense")
    git(made.root, "commit", "-q", "-am", "broken again")
    assert {each.name for each in findings(made)} == {one.name, made.head().commit[:10]}


def test_a_manifest_that_many_commits_hold_is_read_once(
    made: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(text: str, where: str) -> Vector:
        read.append(where)
        return parse(text, where)

    monkeypatch.setattr(vector_file, "parse", counted)
    file = made.root / "vectors" / "quiet.json"
    file.write_text("nonsense")
    git(made.root, "commit", "-q", "-am", "broken")
    git(made.root, "commit", "-q", "--amend", "-m", "broken still")
    (one,) = fsck(made, CREW).findings
    assert len(one.dependents) == 2
    assert len(read) == len({where.split(" at ")[0] for where in read}) + 1 == 4


def test_missing_objects_of_git(made: Repository) -> None:
    drop_object(made, "HEAD:vectors/quiet.json")
    found = findings(made)
    assert named(found, "git").name == "objects"
    manifest = named(found, "manifest")
    assert manifest.name == "vectors/quiet.json"
    assert manifest.dependents == (f"quiet at {made.head().commit[:10]}",)


@pytest.mark.parametrize("revision", ["v1:personality.toml", "v1:pvc.toml", "v1^{tree}", "v1"])
def test_other_missing_objects_of_git(made: Repository, revision: str) -> None:
    drop_object(made, revision)
    assert any(each.what == "git" for each in findings(made))


def test_everything_that_can_be_reached_is_looked_at(
    made: Repository, base_model: Model, do_commit: Commit, tmp_path: Path
) -> None:
    """A stash, a reset commit, another branch, a worktree and a target each keep one vector."""
    vectors = {}
    start = made.head().commit
    for number, name in enumerate(["branch", "detached", "target", "reset", "stash"]):
        what = models.tuned(base_model, 20 + number, names=["model.norm.weight"])
        vectors[name] = do_commit(name, what, onto="base", aside=True).vector
        if name == "branch":
            git(made.root, "branch", "side")
        if name == "detached":
            git(made.root, "worktree", "add", "-q", "--detach", str(tmp_path / "second"))
        if name == "target":
            checkout(made, "target", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
        git(made.root, "reset", "-q", "--hard", start)
        if name in {"branch", "detached", "target"}:
            git(made.root, "reflog", "expire", "--expire=now", "--all")
    (made.root / "vectors" / "quiet.json").write_text(to_text(vectors["stash"]))
    git(made.root, "stash", "-q")
    for name, vector in vectors.items():
        made.store.object_path("tree", vector.to_tree).unlink()
        (one,) = [each for each in findings(made) if each.name == vector.to_tree.hex()]
        assert one.what == "tree"
        expected = {"target": f"the target {tmp_path / 'out'}", "stash": "quiet at"}
        assert any(expected.get(name, f"{name} at") in each for each in one.dependents), name


def test_targets(made: Repository, tmp_path: Path) -> None:
    checkout(made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=CREW)
    (file,) = (made.folder / "targets").iterdir()
    file.write_text("{}")
    (one,) = findings(made)
    assert (one.what, one.name) == ("target", str(file))


def test_what_is_removed_is_still_history(made: Repository) -> None:
    vector = models.captured(made.head(), "quiet")
    remove(made, "quiet")
    made.store.object_path("tree", vector.to_tree).unlink()
    one = named(findings(made), "tree")
    assert {name.split(" at ")[0] for name in one.dependents} == {"quiet"}


def test_leftovers_are_no_damage(made: Repository) -> None:
    (made.folder / "packs" / "ab").mkdir(exist_ok=True)
    (made.folder / "packs" / "ab" / "notes.txt").write_text("")
    (made.folder / "tmp" / "leftover").mkdir()
    (made.root / "behaviours").mkdir()
    (made.root / "behaviours" / "any.toml").write_text("")
    (made.root / "vectors" / "readme.md").write_text("")
    commit_edits(made, "files of others")
    assert findings(made) == []
