"""Nothing that pvc did not write is overwritten or removed."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.black_box.pvc_process import Scene, killed, pvc, scene, sure, weights

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "base"
"""What is checked out to the target that holds HEAD; no commit, so HEAD stays."""


@pytest.fixture
def made(tmp_path: Path) -> Scene:
    return scene(tmp_path.resolve())


def inodes(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.relative_to(folder).as_posix(): (path.lstat().st_ino, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("command", [("status",), ("build", "c"), ("tag", "x"), ("commit",)])
def test_a_result_that_came_after_a_kill_stays(made: Scene, command: tuple[str, ...]) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    shutil.copyfile(made.root / "m2" / "model.safetensors", made.served / "model.safetensors")
    if command == ("commit",):
        command = ("commit", "new", "--from", "served", "--onto", "base", "--aside")
    sure(made.work, *command)
    assert weights(made.served) == weights(made.root / "m2")
    done = pvc(made.work, "checkout", OTHER, "--to", "served")
    assert done.code == 19
    assert str(made.served) in done.err
    assert weights(made.served) == weights(made.root / "m2")
    sure(made.work, "checkout", OTHER, "--to", "elsewhere")
    assert weights(made.work / "elsewhere") == weights(made.root / "base")


def test_what_was_committed_after_a_kill_is_what_lay_there(made: Scene) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    shutil.copyfile(made.root / "m2" / "model.safetensors", made.served / "model.safetensors")
    sure(made.work, "commit", "new", "--from", "served", "--onto", "base", "--aside")
    sure(made.work, "checkout", "new", "--to", "again")
    assert weights(made.work / "again") == weights(made.root / "m2")


def test_one_tensor_that_came_after_a_kill_stays(made: Scene) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    file = made.served / "model.safetensors"
    with file.open("r+b") as opened:
        opened.seek(-700, os.SEEK_END)
        opened.write(b"trained!")
    before = weights(made.served)
    sure(made.work, "tag", "x")
    assert weights(made.served) == before


def test_a_mixture_is_still_brought_back(made: Scene) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    sure(made.work, "tag", "x")
    assert weights(made.served) == weights(made.root / "m1")


@pytest.mark.parametrize("what", ["removed", "replaced", "renamed", "link to the base", "a file"])
def test_a_target_that_is_another_after_a_kill(made: Scene, what: str) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    moved = made.root / "moved"
    made.served.rename(moved)
    if what == "removed":
        shutil.rmtree(moved)
    elif what == "replaced":
        shutil.copytree(made.root / "m2", made.served)
    elif what == "link to the base":
        made.served.symlink_to(made.root / "base")
    elif what == "a file":
        made.served.write_text("mine")
    base, there = inodes(made.root / "base"), inodes(made.served)
    sure(made.work, "tag", "x")
    assert inodes(made.root / "base") == base
    assert inodes(made.served) == there
    assert made.served.is_symlink() == (what == "link to the base")
    assert made.served.exists() == (what not in {"removed", "renamed"})
    assert not (made.work / ".git" / "pvc" / "journal.json").exists()


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("command", [("tag", "x"), ("checkout", OTHER)])
def test_a_copy_leaves_the_targets_of_the_original(
    made: Scene, kill: bool, command: tuple[str, ...]
) -> None:
    outside = made.root / "outside"
    sure(made.work, "forget", "served")
    shutil.rmtree(made.served)
    sure(made.work, "checkout", "main", "--to", outside)
    if kill:
        (made.work / "served").symlink_to(outside)  # for `killed`, which names it so
        killed(made.work, "checkout", OTHER, "--to", outside)
    copy = made.root / "copy"
    shutil.copytree(made.work, copy, symlinks=True)
    before = inodes(outside)
    done = pvc(copy, *command)
    assert inodes(outside) == before
    assert done.code == (0 if command[0] == "tag" else 19)
    assert "the repository that this one is a copy of" in sure(copy, "status")
    assert pvc(copy, "checkout", OTHER, "--to", outside).code == 19
    assert inodes(outside) == before
    sure(copy, "checkout", OTHER, "--to", "mine")
    sure(made.work, "tag", "y")
    assert weights(outside) == weights(made.root / "m1")


def test_a_target_inside_moves_with_its_repository(made: Scene) -> None:
    moved = made.root / "moved"
    made.work.rename(moved)
    sure(moved, "checkout", OTHER)
    assert not made.work.exists()
    assert weights(moved / "served") == weights(made.root / "base")


def test_an_interrupted_checkout_moves_with_its_repository(made: Scene) -> None:
    killed(made.work, "checkout", OTHER, "--to", "served")
    moved = made.root / "moved"
    made.work.rename(moved)
    sure(moved, "tag", "x")
    assert not made.work.exists()
    assert weights(moved / "served") == weights(made.root / "m1")


def test_a_moved_repository_does_not_make_its_old_target_again(made: Scene) -> None:
    outside = made.root / "project" / "outside"
    sure(made.work, "forget", "served")
    shutil.rmtree(made.served)
    sure(made.work, "checkout", "main", "--to", outside)
    outside.parent.rename(made.root / "other")
    made.work.rename(made.root / "moved")
    done = pvc(made.root / "moved", "checkout", OTHER)
    assert (done.code, outside.parent.exists()) == (2, False)
    assert "--to DIR" in done.err


def test_a_target_that_became_a_link_to_the_base(made: Scene) -> None:
    shutil.rmtree(made.served)
    made.served.symlink_to(made.root / "base")
    base = inodes(made.root / "base")
    done = pvc(made.work, "checkout", "c")
    assert (done.code, "a link to" in done.err) == (19, True)
    assert inodes(made.root / "base") == base
    assert "a link to" in sure(made.work, "status")


def test_a_folder_that_became_a_link(made: Scene) -> None:
    for model in ("m1", "m2"):
        (made.root / model / "extra").mkdir()
        (made.root / model / "extra" / "notes.txt").write_text(model)
    sure(made.work, "commit", "d", "--from", made.root / "m1", "--onto", "base", "--aside")
    sure(made.work, "checkout", "d", "--to", "rich")
    elsewhere = made.root / "elsewhere"
    (made.work / "rich" / "extra").rename(elsewhere)
    (made.work / "rich" / "extra").symlink_to(elsewhere)
    before = inodes(elsewhere)
    done = pvc(made.work, "checkout", OTHER, "--to", "rich")
    assert (done.code, "a link to" in done.err) == (19, True)
    assert inodes(elsewhere) == before


def journal_of(work: Path) -> dict[str, object]:
    found = json.loads((work / ".git" / "pvc" / "journal.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_planted_journal_removes_nothing(made: Scene) -> None:
    """Also one whose check value was computed: only pvc's own names, and the inodes recorded."""
    precious = made.root / "precious"
    shutil.copytree(made.root / "m2", precious)
    killed(made.work, "checkout", OTHER, "--to", "served")
    document = journal_of(made.work)
    writing = document["writing"]
    assert isinstance(writing, dict)
    writing |= {"temporary": str(precious), "before": None}
    before = inodes(precious)
    for text in (json.dumps(document), checked(document)):
        (made.work / ".git" / "pvc" / "journal.json").write_text(text)
        pvc(made.work, "tag", "x")
        assert inodes(precious) == before


def test_a_planted_record_is_no_target(made: Scene) -> None:
    """The journal says that a directory is being updated which pvc did not write."""
    precious = made.root / "precious"
    shutil.copytree(made.root / "m2", precious)
    killed(made.work, "checkout", OTHER, "--to", "served")
    document = journal_of(made.work)
    writing = document["writing"]
    assert isinstance(writing, dict)
    for name in ("before", "after"):
        record = json.loads(writing[name])
        writing[name] = checked(record | {"path": str(precious)})
    (made.work / ".git" / "pvc" / "journal.json").write_text(checked(document))
    before = inodes(precious)
    pvc(made.work, "tag", "x")
    assert inodes(precious) == before


def checked(document: dict[str, object]) -> str:
    """The text with the check value that belongs to it: who can write it can compute it."""
    from blake3 import blake3

    rest = {name: value for name, value in document.items() if name != "check"}
    check = blake3(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    return json.dumps({**rest, "check": check} if "check" in document else rest)


@pytest.mark.parametrize("change", ["no stamps", "a bit"])
def test_a_damaged_record_does_not_hide_training(made: Scene, change: str) -> None:
    (file,) = (made.work / ".git" / "pvc" / "targets").glob("*.json")
    shutil.copyfile(made.root / "m2" / "model.safetensors", made.served / "model.safetensors")
    record = json.loads(file.read_text())
    found = (made.served / "model.safetensors").stat()
    now = [found.st_size, found.st_mtime_ns, found.st_ino, found.st_ctime_ns]
    record["stamps"] = (
        {} if change == "no stamps" else record["stamps"] | {"model.safetensors": now}
    )
    file.write_text(json.dumps(record) if change == "a bit" else checked(record))
    done = pvc(made.work, "checkout", OTHER, "--to", "served")
    assert done.code == 19
    assert weights(made.served) == weights(made.root / "m2")
