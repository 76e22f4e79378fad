"""A store over a backend, as far as it needs nothing but the backend: all but changes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pvc_store.block import Codec
from pvc_store.errors import DamageError, FormatError, MissingError
from pvc_store.frame import MAX_FILE_BYTES, OversizeError
from pvc_store.layout import Layout
from pvc_store.objects import StoredObjects
from pvc_store.pack import PackNameError, PackPayloadError, file_digest, read_footer, read_payload
from pvc_store.packed import PackedBlocks
from pvc_store.store import Damage
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from pvc_store.backend import StoreBackend

MAX_KNOWN_TREES = 4


class ObjectStore(PackedBlocks):
    """See `pvc_store.store.Store`; safe for several threads.

    Args:
        backend: where packs, trees and layouts are kept.
    """

    def __init__(self, backend: StoreBackend) -> None:
        super().__init__(backend)
        self.trees = StoredObjects(backend, "tree")
        self.layouts = StoredObjects(backend, "layout")
        self._recent: dict[bytes, Tree] = {}

    # Trees and layouts

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id; see `Store.tree`.  A few are kept in memory."""
        tree = self._recent.get(tree_id)
        if tree is None:
            tree = self._read_tree(tree_id)
            if len(self._recent) >= MAX_KNOWN_TREES:
                self._recent.clear()
            self._recent[tree_id] = tree
        return tree

    def _read_tree(self, tree_id: bytes) -> Tree:
        data = self._file(self.trees, tree_id)
        base_file = partial(self._file, self.trees)
        return Tree.from_bytes(data, tree_id, base_file, f"Tree {tree_id.hex()}", self._recent)

    def holds_whole(self, tree_id: bytes) -> bool:
        """Whether a tree is stored whole, not as differences from a base, and is sound."""
        try:
            return Tree.is_whole(self._file(self.trees, tree_id), tree_id, "Tree")
        except (DamageError, MissingError):
            return False

    def layout(self, layout_id: bytes) -> Layout:
        """The layout of an id; see `Store.layout`."""
        data = self._file(self.layouts, layout_id)
        return Layout.from_bytes(data, layout_id, f"Layout {layout_id.hex()}")

    def tree_ids(self) -> list[bytes]:
        """Ids of all trees, sorted."""
        return self.trees.ids()

    def layout_ids(self) -> list[bytes]:
        """Ids of all layouts, sorted."""
        return self.layouts.ids()

    def _file(self, objects: StoredObjects, object_id: bytes) -> bytes:
        size = objects.size(object_id)
        if size > MAX_FILE_BYTES:
            where = f"{objects.sort.capitalize()} {object_id.hex()}"
            raise OversizeError(where, f"{size} bytes exceed the limit of {MAX_FILE_BYTES}")
        return objects.get(object_id)

    # Removal

    def pack_size(self, pack: bytes) -> int:
        """Bytes of a pack; 0 if it is not there."""
        try:
            return self.packs.size(pack)
        except MissingError:
            return 0

    def keys_in(self, packs: Collection[bytes]) -> dict[bytes, set[bytes]]:
        """The keys of the blocks that are read from some packs, by pack.

        Packs that are missing or that cannot be read are left out.
        """
        index = self.index()
        found: dict[bytes, set[bytes]] = {pack: set() for pack in index.packs if pack in packs}
        for pack, entry in index:
            if pack in found:
                found[pack].add(entry.form.key)
        return found

    def remove(self, trees: Iterable[bytes], packs: Iterable[bytes]) -> None:
        """Remove trees and packs that nothing else needs, while nobody writes.

        Trees go first, so that after a crash no tree lacks its blocks.
        """
        self._recent.clear()
        self.trees.delete(trees)
        self.packs.delete(packs)
        self.refresh()

    # Verification

    def stored_size(self) -> int:
        """Bytes of all packs, which `verify` reads."""
        return sum(map(self.pack_size, self.packs.ids()))

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
        """Check every stored byte; see `Store.verify`."""
        for pack in self.packs.ids():
            try:
                yield from self._verify_pack(pack, advance)
            except (FormatError, MissingError, OSError) as error:
                if not self.packs.has(pack):
                    continue  # removed meanwhile; blocks that are needed will be missed
                yield Damage("pack", pack.hex(), str(error))
        self._recent.clear()  # so that they are read again
        yield from self._verify_depth()
        yield from self._verify_files()

    def _verify_pack(self, pack: bytes, advance: Callable[[int], None]) -> Iterator[Damage]:
        where = f"Pack {pack.hex()}"
        read = partial(self.packs.get_into, pack)
        digest = file_digest(read, advance)
        if digest != pack:
            error = PackNameError(where, f"it hashes to {digest.hex()}")
            yield Damage("pack", pack.hex(), str(error))
        for entry in read_footer(read, self.packs.size(pack), where):
            try:
                read_payload(read, entry, self.scratch(), where)
            except PackPayloadError as damage:
                yield Damage("block", entry.form.key.hex(), str(damage))

    def _verify_depth(self) -> Iterator[Damage]:
        """Blocks whose base has a base itself."""
        bases = {form.key: form.base_key for form in self.forms() if form.codec is Codec.DELTA}
        for key, base in bases.items():
            if base in bases:
                detail = f"Its base, block {base.hex()}, is itself stored against a base."
                yield Damage("block", key.hex(), detail)

    def _verify_files(self) -> Iterator[Damage]:
        """Trees and layouts that cannot be read."""
        for objects, read in ((self.trees, self.tree), (self.layouts, self.layout)):
            for object_id in objects.ids():
                try:
                    read(object_id)
                except (DamageError, MissingError, OSError) as error:
                    yield Damage(objects.sort, object_id.hex(), str(error))
