from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pvc_store import atomic

FULL = Path("/dev/full")


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_file(path, b"old")
    with path.open("rb") as reader:
        atomic.write_file(path, memoryview(b"new"), mode=0o400)
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
def test_what_the_disk_refuses_is_named() -> None:
    fd = os.open(FULL, os.O_WRONLY)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write_all(fd, b"data", 0)
    os.close(fd)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(FULL))
    with pytest.raises(OSError, match="closed"), atomic.naming(fd):
        raise OSError(errno.EIO, "it is closed, and has no name")


@pytest.mark.parametrize("function", ["pwrite", "fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "file"
    atomic.write_file(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(OSError, match="full"):
        atomic.write_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_short_write_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = os.pwrite

    def short(fd: int, data: memoryview, offset: int) -> int:
        return whole(fd, data[:3], offset)

    monkeypatch.setattr(os, "pwrite", short)
    atomic.write_new(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_new_file_must_be_new(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        atomic.write_new(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"


def test_directories_are_made_with_their_parents(tmp_path: Path) -> None:
    for _ in range(2):
        atomic.make_directory(tmp_path / "a" / "b" / "c")
        assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        atomic.make_directory(tmp_path / "file")
    with pytest.raises(NotADirectoryError):
        atomic.make_directory(tmp_path / "file" / "below")


def test_files_move_into_directories_that_are_made_for_them(tmp_path: Path) -> None:
    moves = [(tmp_path / name, tmp_path / "deep" / name / name) for name in "ab"]
    for temporary, _ in moves:
        atomic.write_new(temporary, temporary.name.encode())
    atomic.move_into_place(moves)
    assert [final.read_text() for _, final in moves] == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
