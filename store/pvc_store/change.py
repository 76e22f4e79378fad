"""A running change to a store: everything it writes lies in a folder of its own until it is kept.

Keeping: first every file is complete and durable in the folder; then packs, layouts and trees
become objects, in this order, each name made durable before the next sort of object.  So a tree
never refers to bytes that are not there, and a crash leaves at most objects that nothing refers to.
The folder is local whatever the backend is, since packs grow and objects do not; how its files
become objects is the store's: those of a directory are renamed, others are put into the backend.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pvc_store import atomic
from pvc_store.block import BlockForm, EncodedBlock, PackEntry
from pvc_store.pack import PackWriter, read_payload
from pvc_store.tree import Tree, file_forms

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc_store.layout import Layout
    from pvc_store.object_store import ObjectStore
    from pvc_store.objects import StoredObjects

# Complete, durable files and the names of the objects that they become.
Prepared: TypeAlias = Sequence[tuple[Path, str]]


class StoreChange:
    """See `pvc_store.store.StoreWriter`; safe for several threads.

    Args:
        store: what is changed.
        folder: an empty folder of this change alone.
    """

    def __init__(self, store: ObjectStore, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._lock = threading.Lock()
        self._blocks: dict[bytes, tuple[Path, PackEntry]] = {}
        self._writers: list[PackWriter] = []
        self._current: PackWriter | None = None
        self._packs: dict[Path, bytes] = {}
        self._trees: dict[bytes, tuple[Tree, Tree | None]] = {}
        self._layouts: dict[bytes, Layout] = {}
        self._stored = 0

    def close(self) -> None:
        """Close the files that are still open."""
        for writer in self._writers:
            writer.close()

    @property
    def stored_bytes(self) -> int:
        """Payload bytes that this change adds."""
        return self._stored

    @property
    def packs(self) -> tuple[bytes, ...]:
        """Ids of the packs that are complete so far; after `finish`, of all."""
        return tuple(self._packs.values())

    def has(self, key: bytes) -> bool:
        """Whether the store or this change has the block."""
        return key in self._blocks or self._store.has(key)

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded; see `StoreReader.form`."""
        found = self._blocks.get(key)
        return self._store.form(key) if found is None else found[1].form

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `StoreReader.get`."""
        found = self._blocks.get(key)
        if found is None:
            return self._store.get(key)
        path, entry = found
        fd = os.open(path, os.O_RDONLY)
        try:
            read = partial(atomic.read_all, fd)
            payload = read_payload(read, entry, self._store.scratch(), f"Pack {path}")
        finally:
            os.close(fd)
        return EncodedBlock(entry.form, payload)

    def put(self, block: EncodedBlock) -> bool:
        """Add a block; see `StoreWriter.put`."""
        length = memoryview(block.payload).nbytes
        with self._lock:
            if self.has(block.form.key):
                return False
            writer, full = self._writer_for(length)
            self._blocks[block.form.key] = (writer.path, writer.append(block))
            self._stored += length
        if full is not None:
            self._finish_pack(full)
        return True

    def put_tree(self, tree: Tree, base: Tree | None = None) -> bytes:
        """Add a tree; see `StoreWriter.put_tree`."""
        self._trees.setdefault(tree.id, (tree, base))
        return tree.id

    def put_layout(self, layout: Layout) -> bytes:
        """Add a layout and return its id."""
        self._layouts[layout.id] = layout
        return layout.id

    def finish(self) -> None:
        """Complete the packs; called once, when no thread puts any more."""
        self._current = None
        for writer in self._writers:
            if writer.entries and writer.path not in self._packs:
                self._finish_pack(writer)

    def keep(self, publish: Callable[[Prepared], None]) -> None:
        """Make everything visible and durable; called once, after `finish`, by one at a time.

        Args:
            publish: lets files become objects, durably.
        """
        packs = [(path, self._store.packs.name(pack)) for path, pack in self._packs.items()]
        layouts = list(self._layout_files())
        trees = list(self._tree_files())
        for files in (packs, layouts, trees):
            publish(files)

    def _writer_for(self, length: int) -> tuple[PackWriter, PackWriter | None]:
        """The pack that takes the next payload, and the one that was full."""
        if self._current is not None and self._current.has_room(length):
            return self._current, None
        full = self._current
        self._current = PackWriter(self._folder / f"{len(self._writers)}.pack")
        self._writers.append(self._current)
        return self._current, full

    def _finish_pack(self, writer: PackWriter) -> None:
        self._packs[writer.path] = writer.finish()

    def _layout_files(self) -> Iterator[tuple[Path, str]]:
        layouts = self._store.layouts
        for layout_id, layout in self._layouts.items():
            if not layouts.has(layout_id):
                yield self._write(layouts, layout_id, layout.to_bytes())

    def _tree_files(self) -> Iterator[tuple[Path, str]]:
        trees = self._store.trees
        new = [pair for tree_id, pair in self._trees.items() if not trees.has(tree_id)]
        for tree_id, data in file_forms(new, self._store.holds_whole):
            yield self._write(trees, tree_id, data)

    def _write(self, objects: StoredObjects, object_id: bytes, data: bytes) -> tuple[Path, str]:
        path = self._folder / f"{object_id.hex()}.{objects.sort}"
        atomic.write_new(path, data, atomic.READ_ONLY)
        return path, objects.name(object_id)
