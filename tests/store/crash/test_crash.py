"""What a crash or a loss of power leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc_store import pack
from pvc_store.files import FileStore
from tests.support.store_children import ROOT
from tests.support.store_crash import AGAINST_BASE, BASE, BEFORE, put

if TYPE_CHECKING:
    import pytest


def counts(kind: str, folder: Path) -> list[int]:
    """What `tests.support.store_crash` counts after each death."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.support.store_crash", kind, folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert found.returncode == 0, found.stderr
    return [int(word) for word in found.stdout.split()]


def test_a_crash_at_any_step_leaves_the_store_sound(tmp_path: Path) -> None:
    trees = counts("store", tmp_path)
    assert trees == sorted(trees)
    assert (trees[0], trees[-1]) == (1, 3)
    assert len(trees) > 40


def test_a_crash_at_any_step_leaves_objects_old_or_new(tmp_path: Path) -> None:
    steps = counts("backend", tmp_path)
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0, 3)
    assert len(steps) > 20


class Disk:
    """Follows the calls that change a disk, and knows what a loss of power would take away.

    A file's bytes are safe once it is fsynced, a name once its directory is.
    """

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.paths: dict[int, Path] = {}
        self.unsafe_bytes: set[Path] = set()
        self.unsafe_names: set[Path] = set()
        self.moved: list[str] = []
        self.calls = {name: getattr(os, name) for name in ("open", "pwrite", "ftruncate", "fsync")}
        self.calls |= {"mkdir": os.mkdir, "replace": os.replace}
        for name in self.calls:
            patch.setattr(os, name, getattr(self, name))

    def open(self, path: Any, flags: int, *rest: Any, **named: Any) -> int:
        fd: int = self.calls["open"](path, flags, *rest, **named)
        self.paths[fd] = Path(path)
        if flags & os.O_CREAT:
            self.unsafe_names.add(Path(path))
        return fd

    def pwrite(self, fd: int, data: Any, offset: int) -> int:
        self.unsafe_bytes.add(self.paths[fd])
        written: int = self.calls["pwrite"](fd, data, offset)
        return written

    def ftruncate(self, fd: int, length: int) -> None:
        self.unsafe_bytes.add(self.paths[fd])
        self.calls["ftruncate"](fd, length)

    def fsync(self, fd: int) -> None:
        self.calls["fsync"](fd)
        self.unsafe_bytes.discard(self.paths[fd])
        self.unsafe_names = {path for path in self.unsafe_names if path.parent != self.paths[fd]}

    def mkdir(self, path: Any, *rest: Any, **named: Any) -> None:
        self.calls["mkdir"](path, *rest, **named)
        self.unsafe_names.add(Path(path))

    def replace(self, old: Path, new: Path) -> None:
        assert old not in self.unsafe_bytes, f"{new} appears before its bytes are safe"
        sort = new.relative_to(self.root).parts[0]
        later = {"packs": (), "layouts": ("packs",), "trees": ("packs", "layouts")}.get(sort, ())
        assert not self.unsafe("format", *later), f"{new} appears before what it needs is safe"
        self.calls["replace"](old, new)
        self.unsafe_names.discard(old)
        self.unsafe_names.add(new)
        self.moved.append(sort)

    def unsafe(self, *sorts: str) -> list[Path]:
        return [
            path
            for path in self.unsafe_bytes | self.unsafe_names
            if path == self.root
            or (path.is_relative_to(self.root) and path.relative_to(self.root).parts[0] in sorts)
        ]


def test_every_object_is_durable_before_another_refers_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pack, "MAX_PACK_BYTES", 6000)
    disk = Disk(tmp_path / "store", monkeypatch)
    store = FileStore.create(tmp_path / "store")
    assert not disk.unsafe("format", "packs", "layouts", "trees")
    assert store.root / "tmp" not in disk.unsafe_names
    for trees in ((BEFORE,), (BASE, AGAINST_BASE)):
        disk.moved.clear()
        put(store, *trees)
        assert not disk.unsafe("format", "packs", "layouts", "trees", "index")
        objects = [sort for sort in disk.moved if sort != "index"]
        assert objects == sorted(objects, key=["packs", "layouts", "trees"].index)
        assert objects.count("packs") > len(trees) - 1
        assert objects.count("trees") == len(trees)


def test_a_directory_made_by_another_process_is_made_durable_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = FileStore.create(tmp_path / "store")
    for sort in ("packs", "layouts", "trees"):
        for number in range(256):
            (store.root / sort / f"{number:02x}").mkdir()
    disk = Disk(store.root, monkeypatch)
    disk.unsafe_names.update((store.root / "packs").iterdir())
    put(store, BEFORE)
    assert not [path for path in disk.unsafe("packs") if any(path.iterdir())]
