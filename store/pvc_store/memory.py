"""A store in memory: for tests, and as the shortest description of what a store does."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc_store.block import check_form
from pvc_store.errors import DamageError, MissingError
from pvc_store.ids import check_value
from pvc_store.layout import Layout
from pvc_store.store import Damage, verify_objects
from pvc_store.tree import Tree, file_forms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pvc_store.block import BlockForm, EncodedBlock


class MemoryStore:
    """Keeps objects in their file form in dictionaries."""

    def __init__(self) -> None:
        self.blocks: dict[bytes, tuple[EncodedBlock, int]] = {}
        self.trees: dict[bytes, bytes] = {}
        self.layouts: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def has(self, key: bytes) -> bool:
        """Whether the store holds the block."""
        return key in self.blocks

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded; see `StoreReader.form`."""
        return self._block(key)[0].form

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `StoreReader.get`."""
        block, check = self._block(key)
        if check_value(block.payload) != check:
            raise DamageError(f"Block {key.hex()}", "its payload does not have its check value")
        return block

    def _block(self, key: bytes) -> tuple[EncodedBlock, int]:
        if key not in self.blocks:
            raise MissingError("block", key.hex())
        return self.blocks[key]

    @contextlib.contextmanager
    def writing(self) -> Iterator[MemoryWriting]:
        """A change: kept when the block ends, dropped when it raises."""
        change = MemoryWriting(self)
        yield change
        with self._lock:
            self.blocks = {**change.blocks, **self.blocks}
            self.layouts = {**change.layouts, **self.layouts}
            new = [pair for name, pair in change.trees.items() if name not in self.trees]
            self.trees |= file_forms(new, self._holds_whole)

    def _holds_whole(self, tree_id: bytes) -> bool:
        return tree_id in self.trees and Tree.base_of(self.trees[tree_id], "A tree") is None

    def forms(self) -> Iterator[BlockForm]:
        """How each block is coded, in the order of the keys."""
        return (self.blocks[key][0].form for key in sorted(self.blocks))

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id; see `Store.tree`."""
        data = self._tree_file(tree_id)
        return Tree.from_bytes(data, tree_id, self._tree_file, f"Tree {tree_id.hex()}")

    def _tree_file(self, tree_id: bytes) -> bytes:
        if tree_id not in self.trees:
            raise MissingError("tree", tree_id.hex())
        return self.trees[tree_id]

    def layout(self, layout_id: bytes) -> Layout:
        """The layout of an id; see `Store.layout`."""
        if layout_id not in self.layouts:
            raise MissingError("layout", layout_id.hex())
        name = f"Layout {layout_id.hex()}"
        return Layout.from_bytes(self.layouts[layout_id], layout_id, name)

    def tree_ids(self) -> list[bytes]:
        """Ids of all trees, sorted."""
        return sorted(self.trees)

    def layout_ids(self) -> list[bytes]:
        """Ids of all layouts, sorted."""
        return sorted(self.layouts)

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
        """Check every stored byte; see `Store.verify`."""
        for key in sorted(self.blocks):
            advance(memoryview(self.blocks[key][0].payload).nbytes)
            try:
                self.get(key)
            except DamageError as error:
                yield Damage("block", key.hex(), str(error))
        yield from verify_objects(self)


class MemoryWriting:
    """A running change to a `MemoryStore`."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self.blocks: dict[bytes, tuple[EncodedBlock, int]] = {}
        self.trees: dict[bytes, tuple[Tree, Tree | None]] = {}
        self.layouts: dict[bytes, bytes] = {}

    @property
    def stored_bytes(self) -> int:
        """Payload bytes that this change adds."""
        return sum(memoryview(block.payload).nbytes for block, _ in self.blocks.values())

    def has(self, key: bytes) -> bool:
        """Whether store or change hold the block."""
        return key in self.blocks or self._store.has(key)

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded; see `StoreReader.form`."""
        return self.blocks[key][0].form if key in self.blocks else self._store.form(key)

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `StoreReader.get`."""
        return self.blocks[key][0] if key in self.blocks else self._store.get(key)

    def put(self, block: EncodedBlock) -> bool:
        """Add a block; see `StoreWriter.put`."""
        kept = replace(block, payload=bytes(block.payload))
        with self._lock:
            if self.has(block.form.key):
                return False
            check_form(block.form, memoryview(kept.payload).nbytes, f"Block {block.form.key.hex()}")
            self.blocks[block.form.key] = (kept, check_value(kept.payload))
            return True

    def put_tree(self, tree: Tree, base: Tree | None = None) -> bytes:
        """Add a tree; see `StoreWriter.put_tree`."""
        self.trees.setdefault(tree.id, (tree, base))
        return tree.id

    def put_layout(self, layout: Layout) -> bytes:
        """Add a layout and return its id."""
        self.layouts[layout.id] = layout.to_bytes()
        return layout.id
