"""Locks within one process; `test_processes` has several."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from pvc_store.errors import LockedError
from pvc_store.folder import only_one, work_folder
from pvc_store.lock import hold

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_excludes_other_threads_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, exclusive=True, holder="us"):
        for exclusive in (True, False):
            with pytest.raises(LockedError), hold(path, exclusive=exclusive):
                pass
    with hold(path, exclusive=False), hold(path, exclusive=False):
        pass


def test_waiting_ends_when_the_lock_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held, times = threading.Event(), []

    def work() -> None:
        with hold(path, exclusive=True):
            held.set()
            time.sleep(0.2)
            times.append(time.monotonic())

    thread = threading.Thread(target=work)
    thread.start()
    held.wait()
    with hold(path, exclusive=True, wait=30):
        times.append(time.monotonic())
    thread.join()
    assert times == sorted(times)


def test_waiting_ends_when_the_time_is_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold(path, exclusive=False):
        start = time.monotonic()
        with pytest.raises(LockedError) as caught, hold(path, exclusive=True, wait=0.1):
            pass
        assert 0.1 <= time.monotonic() - start < 10
    assert str(caught.value) == f"The lock {path} is held."


def test_a_lock_is_freed_by_an_error(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(ZeroDivisionError), hold(path, exclusive=True, holder="us"):
        _ = 1 // 0
    with hold(path, exclusive=True):
        pass
    assert path.read_bytes() == b""


def test_a_work_folder_ends_with_its_block(tmp_path: Path) -> None:
    with work_folder(tmp_path) as one, work_folder(tmp_path) as other:
        (one / "file").touch()
        assert sorted(tmp_path.iterdir()) == sorted([one, other])
    assert list(tmp_path.iterdir()) == []


def test_folders_without_an_owner_are_removed(tmp_path: Path) -> None:
    (tmp_path / "left" / "deep").mkdir(parents=True)
    (tmp_path / "left" / "deep" / "0.pack").touch()
    (tmp_path / "stray file").touch()
    with work_folder(tmp_path) as folder:
        assert sorted(tmp_path.iterdir()) == sorted([folder, tmp_path / "stray file"])


def test_only_one_is_there_at_a_time(tmp_path: Path) -> None:
    seen: list[str] = []

    def work() -> None:
        with only_one(tmp_path):
            seen.append("in")
            time.sleep(0.02)
            seen.append("out")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["in", "out"] * 4
