"""A running change to a `FileStore`: everything it writes lies in a folder of its own until kept.

Order of keeping: packs, layouts, trees; each fsynced, renamed, its directory fsynced.  So a tree
never refers to bytes that are not there, and a crash leaves at most packs that nothing refers to.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import uuid
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.block import EncodedBlock, Entry
from pvc_store.pack import FinishedPack, PackWriter, read_payload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from pvc_store.files import FileStore
    from pvc_store.layout import Layout
    from pvc_store.tree import Tree


class Change:
    """See `pvc_store.store.Writing`; safe for several threads."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._folder = store.root / "tmp" / uuid.uuid4().hex
        self._lock = threading.Lock()
        self._blocks: dict[bytes, tuple[PackWriter, Entry]] = {}
        self._current: PackWriter | None = None
        self._writers: list[PackWriter] = []
        self._finished: list[FinishedPack] = []
        self._objects: list[tuple[str, bytes, bytes]] = []
        self._stored = 0
        self._guard = -1

    def __enter__(self) -> Self:
        with _locked(self._folder.parent):
            _remove_abandoned(self._folder.parent)
            self._folder.mkdir()
            self._guard = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._guard, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for writer in self._writers:
            writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._guard)

    @property
    def stored_bytes(self) -> int:
        """Payload bytes that this change adds."""
        return self._stored

    def has(self, key: bytes) -> bool:
        """Whether store or change hold the block."""
        return key in self._blocks or self._store.has(key)

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `Reading.get`."""
        found = self._blocks.get(key)
        if found is None:
            return self._store.get(key)
        writer, entry = found
        payload = read_payload(writer.fd, entry, self._store.scratch(), str(writer.path))
        return EncodedBlock(entry.form, payload)

    def put(self, block: EncodedBlock) -> bool:
        """Add a block; see `Writing.put`."""
        full = None
        with self._lock:
            if self.has(block.form.key):
                return False
            length = len(memoryview(block.payload))
            if self._current is not None and not self._current.has_room(length):
                full, self._current = self._current, None
            if self._current is None:
                self._current = PackWriter(self._folder / f"{len(self._writers)}.pack")
                self._writers.append(self._current)
            self._blocks[block.form.key] = (self._current, self._current.append(block))
            self._stored += length
        if full is not None:
            self._finish(full)
        return True

    def put_tree(self, tree: Tree, base: Tree | None = None) -> bytes:
        """Add a tree and return its id."""
        self._objects.append(("tree", tree.id, tree.to_bytes(base)))
        return tree.id

    def put_layout(self, layout: Layout) -> bytes:
        """Add a layout and return its id."""
        self._objects.append(("layout", layout.id, layout.to_bytes()))
        return layout.id

    def keep(self) -> None:
        """Make everything durable and visible; called once, at the end."""
        if self._current is not None:
            self._finish(self._current)
        for pack in self._finished:
            final = self._store.packs.path(pack.id)
            atomic.make_directory(final.parent)
            atomic.move_into_place(pack.path, final)
        for what, name, data in sorted(self._objects):  # "layout" sorts before "tree"
            final = self._store.object_path(what, name)
            if not final.exists():
                atomic.make_directory(final.parent)
                atomic.write_file(final, data, mode=0o444)

    def _finish(self, writer: PackWriter) -> None:
        finished = writer.finish()
        with self._lock:
            self._finished.append(finished)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Nobody else creates or removes folders of changes while the block runs."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _remove_abandoned(directory: Path) -> None:
    """Remove the folders of changes whose processes are gone: nobody holds their locks."""
    for folder in directory.iterdir():
        guard = os.open(folder, os.O_RDONLY)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(guard)
