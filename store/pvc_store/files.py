"""The store in a directory.

    format            "pvc store 1"
    packs/ab/<id>.pack  trees/ab/<id>.tree  layouts/ab/<id>.layout
    index             which pack holds a block; rebuilt when it does not fit the packs
    tmp/<uuid>/       a running change; its directory is locked while its process lives
    lock              shared: writers; exclusive: whoever removes objects

Objects never change once they are there.  `store/README.md` has the reasons.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.change import StoreChange
from pvc_store.errors import DamageError, FormatError, MissingError, StoreError
from pvc_store.folder import work_folder
from pvc_store.frame import MAX_FILE_BYTES, OversizeError
from pvc_store.layout import Layout
from pvc_store.lock import hold
from pvc_store.pack import PackNameError, PackPayloadError, file_digest, read_footer, read_payload
from pvc_store.packed import PackedBlocks
from pvc_store.packfiles import fan_out, names_in
from pvc_store.store import Damage, verify_objects
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

FORMAT = b"pvc store 1\n"
LOCK_WAIT_SECONDS = 10.0
MAX_KNOWN_TREES = 4


class FormatVersionError(StoreError):
    """The directory is no store that this version of pvc can read.

    Attributes:
        path: the directory.
        found: what its `format` file says.
    """

    def __init__(self, path: Path, found: str) -> None:
        self.path = path
        self.found = found
        super().__init__(
            f"{path} is no store that this version of pvc can read: its format file says "
            f"{found!r}, not {FORMAT.decode()!r}."
        )


class FileStore(PackedBlocks):
    """A store in a directory; safe for several threads and processes.

    Args:
        root: the directory.

    Raises:
        FormatVersionError: it is no store, or one of another version.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            found = (root / "format").read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            found = b""
        if found != FORMAT:
            raise FormatVersionError(root, found[:80].decode(errors="replace"))
        super().__init__(root / "packs", root / "index", root / "tmp")
        self._trees: dict[bytes, Tree] = {}

    @classmethod
    def create(cls, root: Path) -> FileStore:
        """A new, empty store; one that is there already is opened.

        Raises:
            FormatVersionError: one of another version is there.
        """
        if not (root / "format").exists():
            atomic.make_directory(root)
            for name in ("packs", "trees", "layouts", "tmp"):
                atomic.make_directory(root / name)
            with work_folder(root / "tmp") as folder:
                atomic.write_new(folder / "format", FORMAT)
                atomic.move_into_place([(folder / "format", root / "format")])
        return cls(root)

    # Trees and layouts

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id; see `Store.tree`.  A few are kept in memory."""
        tree = self._trees.get(tree_id)
        if tree is None:
            tree = self._read_tree(tree_id)
            if len(self._trees) >= MAX_KNOWN_TREES:
                self._trees.clear()
            self._trees[tree_id] = tree
        return tree

    def _read_tree(self, tree_id: bytes) -> Tree:
        data = self._object("tree", tree_id)
        base_file = functools.partial(self._object, "tree")
        return Tree.from_bytes(data, tree_id, base_file, f"Tree {tree_id.hex()}", self._trees)

    def holds_whole(self, tree_id: bytes) -> bool:
        """Whether a tree is here, sound, and not stored against a base."""
        try:
            return Tree.is_whole(self._object("tree", tree_id), tree_id, "Tree")
        except (DamageError, MissingError):
            return False

    def layout(self, layout_id: bytes) -> Layout:
        """The layout of an id; see `Store.layout`."""
        data = self._object("layout", layout_id)
        return Layout.from_bytes(data, layout_id, f"Layout {layout_id.hex()}")

    def tree_ids(self) -> list[bytes]:
        """Ids of all trees, sorted."""
        return names_in(self.root / "trees", ".tree")

    def layout_ids(self) -> list[bytes]:
        """Ids of all layouts, sorted."""
        return names_in(self.root / "layouts", ".layout")

    def object_path(self, what: str, name: bytes) -> Path:
        """Where a tree or a layout lies."""
        return fan_out(self.root / f"{what}s", name, f".{what}")

    def _object(self, what: str, name: bytes) -> bytes:
        try:
            file = self.object_path(what, name).open("rb")
        except FileNotFoundError:
            raise MissingError(what, name.hex()) from None
        with file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                where = f"{what.capitalize()} {name.hex()}"
                raise OversizeError(where, f"{size} bytes exceed the limit of {MAX_FILE_BYTES}")
            return file.read()

    # Changes

    @contextlib.contextmanager
    def writing(self) -> Iterator[StoreChange]:
        """A change: kept when the block ends, dropped when it raises.

        Raises:
            LockedError: another process is removing objects.
        """
        with hold(self.root / "lock", exclusive=False, wait=LOCK_WAIT_SECONDS):
            self.refresh()
            with (
                work_folder(self.root / "tmp") as folder,
                contextlib.closing(StoreChange(self, folder)) as change,
            ):
                yield change
                change.keep()
            self.refresh()

    @contextlib.contextmanager
    def removing(self, holder: str) -> Iterator[None]:
        """Nobody writes while the block runs.

        Raises:
            LockedError: other processes are writing.
        """
        with hold(self.root / "lock", exclusive=True, wait=LOCK_WAIT_SECONDS, holder=holder):
            yield

    def pack_size(self, pack: bytes) -> int:
        """Bytes of a pack; 0 if it is not there."""
        try:
            return self.packs.path(pack).stat().st_size
        except FileNotFoundError:
            return 0

    def keys_in(self, packs: Collection[bytes]) -> dict[bytes, set[bytes]]:
        """The keys of the blocks that are read from some packs, by pack.

        Left out are packs that are gone, or that cannot be read.
        """
        index = self.index()
        found: dict[bytes, set[bytes]] = {pack: set() for pack in index.packs if pack in packs}
        for pack, entry in index:
            if pack in found:
                found[pack].add(entry.form.key)
        return found

    def remove(self, trees: Iterable[bytes], packs: Iterable[bytes]) -> None:
        """Remove trees and packs; the caller is in `removing`, and nothing else needs them.

        Trees go first, so that after a crash no tree lacks its blocks.
        """
        self._trees.clear()
        self.packs.close()
        for paths in (
            [self.object_path("tree", tree) for tree in trees],
            [self.packs.path(pack) for pack in packs],
        ):
            for path in paths:
                path.unlink(missing_ok=True)
            for folder in {path.parent for path in paths}:
                if folder.exists():
                    atomic.sync_directory(folder)
        self.refresh()

    # Verification

    def stored_size(self) -> int:
        """Bytes that `verify` will read."""
        return sum(self.packs.path(pack).stat().st_size for pack in self.packs.names())

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
        """Check every stored byte; see `Store.verify`."""
        for pack in self.packs.names():
            try:
                yield from self._verify_pack(pack, advance)
            except (FormatError, MissingError, OSError) as error:
                if not self.packs.path(pack).exists():
                    continue  # removed meanwhile; blocks that are needed will be missed
                yield Damage("pack", pack.hex(), str(error))
        self._trees.clear()  # so that they are read again
        yield from verify_objects(self)

    def _verify_pack(self, pack: bytes, advance: Callable[[int], None]) -> Iterator[Damage]:
        where = f"Pack {pack.hex()}"
        with self.packs.opened(pack) as fd:
            digest = file_digest(fd, advance)
            if digest != pack:
                error = PackNameError(where, f"it hashes to {digest.hex()}")
                yield Damage("pack", pack.hex(), str(error))
            for entry in read_footer(fd, where):
                try:
                    read_payload(fd, entry, self.scratch(), where)
                except PackPayloadError as damage:
                    yield Damage("block", entry.form.key.hex(), str(damage))
