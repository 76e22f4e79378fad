"""The blocks of a store: found by the index, read from the packs.

Other processes add packs and remove them.  The index is checked against the packs that are there
when it is first used, when a change begins or ends, and whenever a block is not found.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

from pvc_store.block import BLOCK_BYTES, BlockForm, EncodedBlock, PackEntry
from pvc_store.errors import FormatError, MissingError
from pvc_store.objects import StoredObjects
from pvc_store.pack import read_footer, read_payload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pvc_store.backend import StoreBackend
    from pvc_store.index import BlockIndex


class PackedBlocks:
    """See `pvc_store.store.StoreReader`; safe for several threads and processes.

    Args:
        backend: where the packs are kept.
    """

    def __init__(self, backend: StoreBackend) -> None:
        self.backend = backend
        self.packs = StoredObjects(backend, "pack")
        self._scratch = threading.local()
        self._index_lock = threading.Lock()
        self._index: BlockIndex | None = None
        self._unreadable: list[bytes] = []

    def close(self) -> None:
        """Close the files that are open for reading."""
        self.backend.close()

    def index(self) -> BlockIndex:
        """The index, read or rebuilt at the first use."""
        with self._index_lock:
            if self._index is None:
                self._index = self._load_index()
            return self._index

    def has(self, key: bytes) -> bool:
        """Whether the store has the block."""
        return key in self.index()

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded; see `StoreReader.form`."""
        return self._find(key)[1].form

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `StoreReader.get`."""
        pack, entry = self._find(key)
        try:
            return self._read(pack, entry)
        except MissingError:  # another process has moved the block into another pack
            self.refresh()
            return self._read(*self._find(key))

    def _find(self, key: bytes) -> tuple[bytes, PackEntry]:
        found = self.index().find(key)
        if found is None:
            self.refresh()
            found = self.index().find(key)
        if found is None:
            for pack in self._unreadable:
                self._footer(pack)  # raises what is wrong with a pack that may contain the block
            raise MissingError("block", key.hex())
        return found

    def _read(self, pack: bytes, entry: PackEntry) -> EncodedBlock:
        read = partial(self.packs.get_into, pack)
        payload = read_payload(read, entry, self.scratch(), f"Pack {pack.hex()}")
        return EncodedBlock(entry.form, payload)

    def scratch(self) -> memoryview:
        """This thread's buffer for payloads."""
        if not hasattr(self._scratch, "view"):
            self._scratch.view = memoryview(bytearray(BLOCK_BYTES))
        view: memoryview = self._scratch.view
        return view

    def forms(self) -> Iterator[BlockForm]:
        """How each block is coded, in the order of the keys."""
        return (entry.form for _, entry in self.index())

    def refresh(self) -> None:
        """Bring the index up to date with the packs that are there now."""
        with self._index_lock:
            self._index = self._load_index()

    def _load_index(self) -> BlockIndex:
        """The index of the packs that are there; only packs it did not know are read."""
        from pvc_store.index import BlockIndex  # numpy: only who seeks blocks needs it

        present = set(self.packs.ids())
        index = self._index
        if index is None or not present.issuperset(index.packs):
            index = self.cached_index()
        if index is None or not present.issuperset(index.packs):
            index = BlockIndex.of(())
        self._unreadable = []
        new = present.difference(index.packs)
        if new:
            index = index.plus(self._footers(sorted(new)))
            if not self._unreadable:
                self.cache_index(index)
        return index

    def cached_index(self) -> BlockIndex | None:
        """The index that was cached last; a backend alone has no place for one."""
        return None

    def cache_index(self, index: BlockIndex) -> None:
        """Keep the index for the next process, where there is a place for it."""

    def _footers(self, packs: Iterable[bytes]) -> Iterator[tuple[bytes, tuple[PackEntry, ...]]]:
        """The entries of packs; one that cannot be read takes no other with it."""
        for pack in packs:
            try:
                entries = self._footer(pack)
            except (FormatError, MissingError, OSError):
                self._unreadable.append(pack)
            else:
                yield pack, entries

    def _footer(self, pack: bytes) -> tuple[PackEntry, ...]:
        read = partial(self.packs.get_into, pack)
        return read_footer(read, self.packs.size(pack), f"Pack {pack.hex()}")
