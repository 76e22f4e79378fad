"""Folders for work in progress: `<parent>/<uuid>/`, removed when the work ends.

A folder is locked while its process lives.  When the process dies, the kernel frees the lock, and
the next one who begins a folder removes what was left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Lock `directory` against other threads and processes, once none of them has it locked."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


@contextlib.contextmanager
def work_folder(parent: Path) -> Iterator[Path]:
    """A new folder below `parent`, removed when the block ends."""
    folder = parent / uuid.uuid4().hex
    parent.mkdir(exist_ok=True)  # copies of a store often lack its empty folders
    with only_one(parent):
        _remove_abandoned(parent)
        folder.mkdir()
        guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(guard, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(guard)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.iterdir():
        with contextlib.suppress(OSError):  # in use, gone meanwhile, or of another user
            guard = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(guard)
