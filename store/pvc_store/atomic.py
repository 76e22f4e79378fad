"""Files that appear whole or not at all.

Written under another name, fsynced, renamed, and the directory fsynced: after a crash there is the
old file, the new file, or a leftover that nobody refers to.  Every call that changes a disk ends
in a function of the `os` module, so that a crash can be provoked between any two of them.
What the disk refuses is an `OSError` that names the file.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

READ_ONLY = 0o444  # the mode of what never changes

_COPY_BYTES = 4 << 20


@contextlib.contextmanager
def naming(fd: int) -> Iterator[None]:
    """Let an `OSError` of the block name the open file, as those of calls on a path do."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            with contextlib.suppress(OSError):  # where there is no /proc
                error.filename = os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
        raise


def sync(fd: int) -> None:
    """Make the bytes of an open file durable."""
    with naming(fd):
        os.fsync(fd)


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Create `directory` and its parents; its name is durable then, whoever created it."""
    try:
        directory.mkdir()
    except FileNotFoundError:
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
    except FileExistsError:
        if not directory.is_dir():
            raise
    sync_directory(directory.parent)


def write_all(fd: int, data: Buffer, offset: int) -> None:
    """Write all of `data` at `offset`; a short write goes on where it stopped."""
    view = memoryview(data).cast("B")
    with naming(fd):
        while len(view):
            written = os.pwrite(fd, view, offset)
            view = view[written:]
            offset += written


def read_all(fd: int, buffer: memoryview, offset: int) -> int:
    """Fill `buffer` from `offset` on; number of bytes read, fewer only where the file ends."""
    done = 0
    with naming(fd):
        while done < len(buffer):
            count = os.preadv(fd, [buffer[done:]], offset + done)
            if not count:
                break
            done += count
    return done


def write_new(path: Path, data: Buffer, mode: int = 0o644) -> None:
    """Put `data` into a file that does not exist yet; its bytes, not its name, are durable then."""
    with _new_file(path, mode) as fd:
        write_all(fd, data, 0)


def copy_new(path: Path, source: Path, mode: int = 0o644) -> None:
    """As `write_new`, with the bytes of another file."""
    with source.open("rb", buffering=0) as file, _new_file(path, mode) as fd:
        offset = 0
        while part := file.read(_COPY_BYTES):
            write_all(fd, part, offset)
            offset += len(part)


@contextlib.contextmanager
def _new_file(path: Path, mode: int) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        yield fd
        sync(fd)
    finally:
        os.close(fd)


def move_into_place(moves: Sequence[tuple[Path, Path]]) -> None:
    """Rename files that are already fsynced, and make their new names durable.

    Args:
        moves: old and new path of each file; the new one's directory is created if need be.
    """
    directories = sorted({final.parent for _, final in moves})
    for directory in directories:
        make_directory(directory)
    for temporary, final in moves:
        temporary.replace(final)
    for directory in directories:
        sync_directory(directory)


def write_file(final: Path, data: Buffer, mode: int = 0o644) -> None:
    """Put `data` at `final`, replacing what was there, in one step.

    The caller keeps others away from `final`.  The temporary name is always the same, so that what
    a crash left is taken away by whoever does it again.
    """
    temporary = final.with_name(f".{final.name}.pvc-tmp")
    try:
        temporary.unlink(missing_ok=True)
        write_new(temporary, data, mode)
        temporary.replace(final)
        sync_directory(final.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
