"""Stores and locks between real processes, some of which are killed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc_store import files
from pvc_store.errors import LockedError, MissingError
from pvc_store.files import FileStore
from pvc_store.lock import hold
from tests.store.samples import layout, raw_block, tree
from tests.support.store_children import Child

if TYPE_CHECKING:
    from collections.abc import Iterator

READ_ALL = "True 1\n"


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore.create(tmp_path / "store")


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that every user may enter, as those of pytest are not."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
    shutil.rmtree(folder)


def folders(store: FileStore) -> list[Path]:
    return list((store.root / "tmp").iterdir())


def test_another_process_reads_what_this_one_wrote(store: FileStore) -> None:
    with store.writing() as change:
        change.put(raw_block(7))
        change.put_tree(tree("a"))
    with Child("read", store.root, 7) as child:
        assert child.finish() == READ_ALL


def test_two_processes_that_write_at_once_are_both_kept(store: FileStore) -> None:
    with Child("put", store.root, 0, 10) as one, Child("put", store.root, 5, 15) as other:
        for child in (one, other):
            child.until_ready()
        assert len(folders(store)) == 2
        assert not store.has(raw_block(0).form.key)
        for child in (one, other):
            child.go_on()
        for child in (one, other):
            child.finish()
    assert folders(store) == []
    reader = FileStore(store.root)
    for seed in range(15):
        assert bytes(reader.get(raw_block(seed).form.key).payload) == raw_block(seed).payload
    assert reader.tree_ids() == sorted(tree("a", seed=seed).id for seed in (0, 5))
    assert reader.layout_ids() == sorted(layout(text).id for text in ("0", "5"))
    assert list(reader.verify()) == []


def test_what_a_killed_change_left_is_removed_but_not_what_a_living_one_has(
    store: FileStore,
) -> None:
    with Child("put", store.root, 0, 5) as living:
        living.until_ready()
        (kept,) = folders(store)
        with Child("put", store.root, 5, 10) as killed:
            killed.until_ready()
            killed.kill()
        assert len(folders(store)) == 2
        with store.writing() as change:
            (own,) = set(folders(store)) - {kept}
            change.put(raw_block(20))
            assert sorted(folders(store)) == sorted([kept, own])
        assert folders(store) == [kept]
        living.go_on()
        living.finish()
    assert folders(store) == []
    assert {form.key for form in store.forms()} == {raw_block(20).form.key}
    store.refresh()
    expected = {raw_block(seed).form.key for seed in (0, 1, 2, 3, 4, 20)}
    assert {form.key for form in store.forms()} == expected
    with pytest.raises(MissingError):
        store.get(raw_block(5).form.key)
    assert list(store.verify()) == []


def test_two_processes_may_create_one_store(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "store"
    with Child("create", root) as one, Child("create", root) as other:
        for child in (one, other):
            child.until_ready()
        for child in (one, other):
            child.go_on()
        for child in (one, other):
            child.finish()
    assert list(FileStore(root).verify()) == []
    assert list((root / "tmp").iterdir()) == []


def test_a_store_that_cannot_be_written_can_be_read(public_folder: Path) -> None:
    root = public_folder / "store"
    store = FileStore.create(root)
    with store.writing() as change:
        change.put(raw_block(7))
        change.put_tree(tree("a"))
    (root / "index").unlink()  # so that the reader would like to write it
    if os.geteuid() != 0:
        for path in (root, *root.rglob("*")):
            path.chmod(path.stat().st_mode & ~0o222)
    with Child("read_as_nobody", root, 7) as child:
        assert child.finish() == READ_ALL
    assert not (root / "index").exists()


# Locks


@pytest.mark.parametrize(
    ("held", "shared_result", "exclusive_result"),
    [("shared", "held", "refused, held by ''"), ("exclusive", *["refused, held by 'us'"] * 2)],
)
def test_a_lock_between_processes(
    tmp_path: Path, held: str, shared_result: str, exclusive_result: str
) -> None:
    path = tmp_path / "lock"
    with (
        hold(path, exclusive=held == "exclusive", holder="us"),
        Child("try_locks", path, "shared", "exclusive") as child,
    ):
        said = child.finish().splitlines()
    assert said == [f"shared {shared_result}", f"exclusive {exclusive_result}"]
    assert path.read_bytes() == b""


def test_kill_frees_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with Child("lock", path, "exclusive") as child:
        child.until_ready()
        with pytest.raises(LockedError) as caught, hold(path, exclusive=False):
            pass
        assert caught.value.path == str(path)
        assert caught.value.holder == "a child of the tests"
        assert str(caught.value) == f"The lock {path} is held by a child of the tests."
        child.kill()
        assert path.read_text() == "a child of the tests"
        with hold(path, exclusive=False):
            assert path.read_text() == ""  # a holder that is no more is not named to others
        with hold(path, exclusive=True):
            pass


def test_removing_waits_for_writers_and_writers_for_removing(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_WAIT_SECONDS", 0.1)
    with Child("put", store.root, 0, 5) as writer:
        writer.until_ready()
        with pytest.raises(LockedError), store.removing("a test"):
            pass
        monkeypatch.setattr(files, "LOCK_WAIT_SECONDS", 30.0)
        writer.go_on()
        with store.removing("a test"):
            assert len(FileStore(store.root).tree_ids()) == 1
            monkeypatch.setattr(files, "LOCK_WAIT_SECONDS", 0.1)
            with pytest.raises(LockedError, match="held by a test"), store.writing():
                pass


# A disk that is full


def test_a_limit_on_file_size_leaves_the_store_as_it_was(store: FileStore) -> None:
    with store.writing() as change:
        change.put(raw_block(0))
    before = sorted(store.root.rglob("*"))
    with Child("small_files", store.root, 1 << 20) as child:
        assert child.finish() == "File too large\n"
    assert sorted(store.root.rglob("*")) == before
    assert list(FileStore(store.root).verify()) == []


def can_mount() -> bool:
    trial = ["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(trial, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not can_mount(), reason="this user may not mount")
def test_a_full_disk_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    with Child("small_disk", tmp_path, 1 << 20, prefix=("unshare", "-m")) as child:
        said = child.finish().splitlines()
    assert said == ["No space left on device", "1 packs", "[]", "[] 2"]
