"""The packs of a directory, opened when they are needed and closed again when there are many."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

from pvc_store.errors import MissingError
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_OPEN = 64


def fan_out(directory: Path, name: bytes, suffix: str) -> Path:
    """`directory/ab/ab...suffix`: 256 folders keep each of them short."""
    text = name.hex()
    return directory / text[:2] / f"{text}{suffix}"


def names_in(directory: Path, suffix: str) -> list[bytes]:
    """Names of the objects below `directory`, sorted; what is no object is passed over."""
    found = []
    for folder in _entries(directory):
        for file in _entries(folder.path) if len(folder.name) == 2 else ():
            text = file.name.removesuffix(suffix)
            with contextlib.suppress(IdError):
                name = parse_id(text)
                if folder.name == text[:2] and text != file.name:
                    found.append(name)
    return sorted(found)


def _entries(directory: Path | str) -> list[os.DirEntry[str]]:
    """What lies in a directory; nothing if there is no such directory (any more)."""
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []


class PackFiles:
    """File descriptors of packs; safe for several threads."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = threading.Lock()
        self._open: OrderedDict[bytes, int] = OrderedDict()
        self._users: dict[bytes, int] = {}

    def names(self) -> list[bytes]:
        """Ids of the packs that are there now, sorted."""
        return names_in(self.directory, ".pack")

    def path(self, pack: bytes) -> Path:
        """Where a pack lies."""
        return fan_out(self.directory, pack, ".pack")

    @contextlib.contextmanager
    def opened(self, pack: bytes) -> Iterator[int]:
        """A descriptor of the pack, which stays open at least while the block runs.

        Raises:
            MissingError: the pack is not there.
        """
        with self._lock:
            fd = self._open.pop(pack, None)
            if fd is None:
                try:
                    fd = os.open(self.path(pack), os.O_RDONLY)
                except FileNotFoundError:
                    raise MissingError("pack", pack.hex()) from None
            self._open[pack] = fd
            self._users[pack] = self._users.get(pack, 0) + 1
        try:
            yield fd
        finally:
            with self._lock:
                self._users[pack] -= 1
                self._close_idle(MAX_OPEN)

    def close(self) -> None:
        """Close all descriptors that nobody uses."""
        with self._lock:
            self._close_idle(0)

    def __del__(self) -> None:
        self.close()

    def _close_idle(self, keep: int) -> None:
        if len(self._open) <= keep:
            return
        idle = [pack for pack in self._open if not self._users.get(pack)]
        for pack in idle[: len(self._open) - keep]:
            os.close(self._open.pop(pack))
            self._users.pop(pack, None)
