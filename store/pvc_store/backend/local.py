"""Objects as the files of a directory, opened when they are needed."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.folder import work_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer

MAX_OPEN = 64


class LocalBackend:
    """See `StoreBackend`; safe for several threads and processes.

    Args:
        root: the directory.
        work: where files are written before they get their names; on the same file system.
    """

    def __init__(self, root: Path, work: Path) -> None:
        self.root = root
        self._work = work
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _OpenFile] = OrderedDict()

    def path(self, name: str) -> Path:
        """The file of an object."""
        return self.root / name

    def list(self, folder: str) -> Iterator[str]:
        """Names of the objects below a folder; see `StoreBackend.list`."""
        return _files_below(str(self.path(folder)), folder)

    def stat(self, name: str) -> int:
        """Size of an object in bytes; see `StoreBackend.stat`."""
        return self.path(name).stat().st_size

    def get(self, name: str) -> bytes:
        """All bytes of an object; see `StoreBackend.get`."""
        return self.path(name).read_bytes()

    def get_into(self, name: str, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; see `StoreBackend.get_into`.

        The file stays open for the next call, unless many others are read meanwhile.
        """
        file = self._opened(name)
        return atomic.read_all(file.fd, buffer, offset)

    def put(self, name: str, data: Buffer | Path) -> None:
        """Store an object, as a file that nobody may write; see `StoreBackend.put`."""
        with work_folder(self._work) as folder:
            prepared = folder / "object"
            if isinstance(data, Path):
                atomic.copy_new(prepared, data, atomic.READ_ONLY)
            else:
                atomic.write_new(prepared, data, atomic.READ_ONLY)
            atomic.move_into_place([(prepared, self.path(name))])
        self._forget(name)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; see `StoreBackend.delete`."""
        folders = set()
        for name in names:
            path = self.path(name)
            path.unlink(missing_ok=True)
            folders.add(path.parent)
            self._forget(name)
        for folder in folders:
            if folder.exists():
                atomic.sync_directory(folder)

    def close(self) -> None:
        """Close the files; one that is being read is closed when that read ends."""
        with self._lock:
            self._open.clear()

    def _opened(self, name: str) -> _OpenFile:
        with self._lock:
            file = self._open.pop(name, None)
            if file is None:
                file = _OpenFile(os.open(self.path(name), os.O_RDONLY))
            self._open[name] = file
            while len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        return file

    def _forget(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)


class _OpenFile:
    """A descriptor, closed when neither the backend nor a running read refers to it any more."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


def _files_below(directory: str, name: str) -> Iterator[str]:
    """Names of all files below a directory, which has the name `name` itself."""
    for entry in _entries(directory):
        if entry.is_dir():
            yield from _files_below(entry.path, f"{name}/{entry.name}")
        else:
            yield f"{name}/{entry.name}"


def _entries(directory: str) -> list[os.DirEntry[str]]:
    """What lies in a directory; nothing if there is no such directory (any more)."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
