"""Objects in memory: for tests, and as the shortest description of what a backend does."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Buffer


class MemoryBackend:
    """See `StoreBackend`; its objects are gone when it is."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}

    def list(self, folder: str) -> Iterator[str]:
        """Names of the objects below a folder; see `StoreBackend.list`."""
        return (name for name in tuple(self._objects) if name.startswith(f"{folder}/"))

    def stat(self, name: str) -> int:
        """Size of an object in bytes; see `StoreBackend.stat`."""
        return len(self.get(name))

    def get(self, name: str) -> bytes:
        """All bytes of an object; see `StoreBackend.get`."""
        try:
            return self._objects[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None

    def get_into(self, name: str, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; see `StoreBackend.get_into`."""
        part = memoryview(self.get(name))[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    def put(self, name: str, data: Buffer | Path) -> None:
        """Store a copy; see `StoreBackend.put`."""
        self._objects[name] = data.read_bytes() if isinstance(data, Path) else bytes(data)

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; see `StoreBackend.delete`."""
        for name in names:
            self._objects.pop(name, None)

    def close(self) -> None:
        """Nothing is ever open; see `StoreBackend.close`."""
