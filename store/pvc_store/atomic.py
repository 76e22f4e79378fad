"""Files that appear whole or not at all.

Written under another name, fsynced, renamed, and the directory fsynced: after a crash there is the
old file, the new file, or a leftover that nobody refers to.  Every call that changes a disk ends
in a function of the `os` module, so that a crash can be provoked between any two of them.
"""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Buffer


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Create `directory` and its parents, each durably."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    try:
        directory.mkdir()
    except FileExistsError:
        return
    sync_directory(directory.parent)


def write_all(fd: int, data: Buffer, offset: int) -> None:
    """Write all of `data` at `offset`; a short write goes on where it stopped."""
    view = memoryview(data).cast("B")
    while len(view):
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def move_into_place(temporary: Path, final: Path) -> None:
    """Rename a file that is already fsynced, and make its name durable."""
    temporary.replace(final)
    sync_directory(final.parent)


def write_file(final: Path, data: Buffer, mode: int = 0o644) -> None:
    """Put `data` at `final`, replacing what was there, in one step."""
    temporary = final.with_name(f".{final.name}.{uuid.uuid4().hex}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            write_all(fd, data, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        move_into_place(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
