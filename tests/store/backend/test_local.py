from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc_store.backend import local
from pvc_store.backend.local import LocalBackend
from tests.store.backend.contract import NAMES, ONE, TWO, BackendContract, read

if TYPE_CHECKING:
    from pvc_store.backend import StoreBackend


@pytest.fixture
def backend(tmp_path: Path) -> LocalBackend:
    return LocalBackend(tmp_path, tmp_path / "tmp")


def files_below(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class TestLocalBackend(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> StoreBackend:
        root = tmp_path / "store"
        root.mkdir()
        return LocalBackend(root, root / "tmp")


def test_an_object_is_a_file_that_nobody_may_write(backend: LocalBackend) -> None:
    source = backend.root / "source"
    source.write_bytes(b"2")
    backend.put(ONE, b"1")
    backend.put(TWO, source)
    assert files_below(backend.root) == {ONE, TWO, "source"}
    for name, data in ((ONE, b"1"), (TWO, b"2")):
        assert backend.path(name).read_bytes() == data
        assert stat.S_IMODE(backend.path(name).stat().st_mode) == 0o444


@pytest.mark.parametrize("function", ["pwrite", "fsync", "replace"])
def test_a_put_that_fails_changes_nothing(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    backend.put(ONE, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="full"):
        backend.put(ONE, b"new")
    with pytest.raises(OSError, match="full"):
        backend.put(TWO, backend.path(ONE))
    monkeypatch.undo()
    assert files_below(backend.root) == {ONE}
    assert backend.get(ONE) == b"old"
    assert list((backend.root / "tmp").iterdir()) == []


def test_bytes_and_names_are_durable_in_this_order(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.put(ONE, b"1")
    calls: list[str] = []
    fsync, replace, unlink = os.fsync, os.replace, os.unlink

    def place(fd: int) -> str:
        return str(Path(f"/proc/self/fd/{fd}").readlink().relative_to(backend.root))

    def synced(fd: int) -> None:
        calls.append("sync " + ("file" if place(fd).endswith("/object") else place(fd)))
        fsync(fd)

    def replaced(old: Path, new: Path) -> None:
        calls.append(f"name {new.name}")
        replace(old, new)

    def unlinked(path: Path, **named: int) -> None:
        calls.append(f"unlink {Path(path).name}")
        unlink(path, **named)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    backend.put(TWO, b"2")
    assert calls == ["sync file", "sync packs", f"name {Path(TWO).name}", "sync packs/ab"]
    calls.clear()
    monkeypatch.setattr(os, "unlink", unlinked)
    backend.delete([ONE, TWO])
    assert calls == ["unlink one.pack", "unlink two.pack", "sync packs/ab"]


def test_what_appears_and_goes_by_other_hands_is_seen(backend: LocalBackend) -> None:
    other = LocalBackend(backend.root, backend.root / "tmp")
    other.put(ONE, b"0123")
    assert read(backend, ONE, 1, 2) == b"12"
    other.delete([ONE])
    assert list(backend.list("packs")) == []
    with pytest.raises(FileNotFoundError):
        backend.get(ONE)


def test_few_files_stay_open(backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "MAX_OPEN", 2)
    before = open_files()
    for _ in range(2):
        for name in NAMES:
            backend.put(name, b"0123")
            assert read(backend, name, 1, 2) == b"12"
            assert open_files() <= before + 2
    backend.delete(NAMES)
    assert open_files() == before
    backend.put(ONE, b"0123")
    read(backend, ONE, 0, 1)
    backend.close()
    assert open_files() == before


def test_a_file_is_read_to_its_end_by_whoever_has_begun(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "MAX_OPEN", 1)
    for name in NAMES:
        backend.put(name, name.encode())
    begun, goes_on = threading.Event(), threading.Event()
    preadv, found = os.preadv, bytearray(len(ONE))

    def slow(fd: int, buffers: list[memoryview], offset: int) -> int:
        if threading.current_thread() is thread:
            begun.set()
            goes_on.wait()
        return preadv(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", slow)
    thread = threading.Thread(target=backend.get_into, args=(ONE, memoryview(found), 0))
    thread.start()
    begun.wait()
    assert read(backend, TWO, 0, len(TWO)) == TWO.encode()  # the other file is put aside
    backend.delete([ONE])
    backend.close()
    goes_on.set()
    thread.join()
    assert bytes(found) == ONE.encode()
