"""The objects of one sort in a backend, by id: `packs/ab/<id>.pack` and the like.

256 folders, by the first two digits of the ids, keep each of them short.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pvc_store.errors import MissingError
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pvc_store.backend import StoreBackend


class StoredObjects:
    """All packs, all trees or all layouts; safe for several threads.

    Args:
        backend: where they are kept.
        sort: "pack", "tree" or "layout".
    """

    def __init__(self, backend: StoreBackend, sort: str) -> None:
        self.sort = sort
        self._backend = backend

    def name(self, object_id: bytes) -> str:
        """The name of an object in the backend."""
        text = object_id.hex()
        return f"{self.sort}s/{text[:2]}/{text}.{self.sort}"

    def ids(self) -> list[bytes]:
        """Ids of the objects that are there now, sorted; what is no object is passed over."""
        found = []
        for name in self._backend.list(f"{self.sort}s"):
            text = name.rpartition("/")[2].removesuffix(f".{self.sort}")
            with contextlib.suppress(IdError):
                object_id = parse_id(text)
                if name == self.name(object_id):
                    found.append(object_id)
        return sorted(found)

    def has(self, object_id: bytes) -> bool:
        """Whether there is an object of this id."""
        try:
            self._backend.stat(self.name(object_id))
        except FileNotFoundError:
            return False
        return True

    def size(self, object_id: bytes) -> int:
        """Bytes of an object.

        Raises:
            MissingError: it is not there.
        """
        with self._missing(object_id):
            return self._backend.stat(self.name(object_id))

    def get(self, object_id: bytes) -> bytes:
        """All bytes of an object.

        Raises:
            MissingError: it is not there.
        """
        with self._missing(object_id):
            return self._backend.get(self.name(object_id))

    def get_into(self, object_id: bytes, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset` on; number of bytes read, fewer only where the object ends.

        Raises:
            MissingError: it is not there.
        """
        with self._missing(object_id):
            return self._backend.get_into(self.name(object_id), buffer, offset)

    def delete(self, ids: Iterable[bytes]) -> None:
        """Delete objects; those that are not there are passed over."""
        self._backend.delete(map(self.name, ids))

    @contextlib.contextmanager
    def _missing(self, object_id: bytes) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise MissingError(self.sort, object_id.hex()) from None
