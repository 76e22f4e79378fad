"""The blocks that lie in packs: found by the index, read from the packs.

Packs come and go by the hands of other processes.  The index is checked against the packs that are
there when it is first used, when a change begins or ends, and whenever a block is not found.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES, BlockForm, EncodedBlock, PackEntry
from pvc_store.errors import FormatError, MissingError
from pvc_store.folder import work_folder
from pvc_store.pack import read_footer, read_payload
from pvc_store.packfiles import PackFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from pvc_store.index import BlockIndex


class PackedBlocks:
    """See `pvc_store.store.StoreReader`; safe for several threads and processes.

    Args:
        directory: where the packs lie.
        cache: the index file.
        work: where the index file is written before it is moved into place.
    """

    def __init__(self, directory: Path, cache: Path, work: Path) -> None:
        self.packs = PackFiles(directory)
        self._cache = cache
        self._work = work
        self._scratch = threading.local()
        self._index_lock = threading.Lock()
        self._index: BlockIndex | None = None
        self._unreadable: list[bytes] = []

    def close(self) -> None:
        """Close the packs."""
        self.packs.close()

    def index(self) -> BlockIndex:
        """The index, read or rebuilt at the first use."""
        with self._index_lock:
            if self._index is None:
                self._index = self._load_index()
            return self._index

    def has(self, key: bytes) -> bool:
        """Whether the store holds the block."""
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
                self._footer(pack)  # says what is wrong with a pack that may hold the block
            raise MissingError("block", key.hex())
        return found

    def _read(self, pack: bytes, entry: PackEntry) -> EncodedBlock:
        with self.packs.opened(pack) as fd:
            payload = read_payload(fd, entry, self.scratch(), f"Pack {pack.hex()}")
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
        """Notice packs that other processes have added or removed."""
        with self._index_lock:
            self._index = self._load_index()

    def _load_index(self) -> BlockIndex:
        """The index of the packs that are there; only packs it did not know are read."""
        from pvc_store.index import BlockIndex, read_index  # numpy: only who seeks blocks needs it

        present = set(self.packs.names())
        index = self._index
        if index is None or not present.issuperset(index.packs):
            index = read_index(self._cache)
        if not present.issuperset(index.packs):
            index = BlockIndex.of(())
        self._unreadable = []
        new = present.difference(index.packs)
        if new:
            index = index.plus(self._footers(sorted(new)))
            if not self._unreadable:
                self._store_index(index)
        return index

    def _store_index(self, index: BlockIndex) -> None:
        # It is a cache: a store that cannot be written can be read.
        with contextlib.suppress(OSError), work_folder(self._work) as folder:
            atomic.write_new(folder / "index", index.to_bytes())
            atomic.move_into_place([(folder / "index", self._cache)])

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
        with self.packs.opened(pack) as fd:
            return read_footer(fd, f"Pack {pack.hex()}")
