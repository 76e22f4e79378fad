"""Where a store keeps its objects: a few operations on names, the same for every kind of storage.

An object is a string of bytes under a name such as `packs/ab/<id>.pack`.  It appears whole or not
at all, does not change, and can be read from any byte on.  `StoreBackend` says what every backend
does; `local` keeps objects in a directory, `memory` in a dictionary, and a remote one would send
them elsewhere.  A backend knows neither packs nor trees: `pvc_store.objects` makes the names, and
checks what comes back.  Locks, running changes and the index are no objects; a store in a directory
has them besides (`pvc_store.files`).  Whoever adds a backend derives its test from
`BackendContract`.

Tests: tests/store/backend/.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from typing_extensions import Buffer


class StoreBackend(Protocol):
    """Objects by name; safe for several threads.

    What the storage refuses is an `OSError`; where a name is missing, a `FileNotFoundError`.
    """

    def list(self, folder: str) -> Iterator[str]:
        """Names of the objects below a folder, such as `packs`, in any order."""
        ...

    def stat(self, name: str) -> int:
        """Size of an object in bytes.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        ...

    def get(self, name: str) -> bytes:
        """All bytes of an object: for small ones, which are read once.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        ...

    def get_into(self, name: str, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` with the bytes of an object from `offset` on: for parts of large ones.

        Args:
            name: the object.
            buffer: writable, of single bytes.
            offset: first byte to read; may lie behind the end.

        Returns:
            Number of bytes read, smaller than the buffer only where the object ends.

        Raises:
            FileNotFoundError: there is none of this name.
        """
        ...

    def put(self, name: str, data: Buffer | Path) -> None:
        """Store an object, whose bytes may be those of a file; it is durable then.

        One that has this name is replaced in one step.  After a failure it is as it was.
        """
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects, durably; names that are missing are passed over."""
        ...

    def close(self) -> None:
        """Release what was opened to read; the backend can still be used."""
        ...
