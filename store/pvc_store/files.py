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
import threading
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES, BlockForm, EncodedBlock, Entry
from pvc_store.change import Change
from pvc_store.errors import DamageError, FormatError, MissingError, StoreError
from pvc_store.index import BlockIndex
from pvc_store.layout import Layout
from pvc_store.lock import hold
from pvc_store.pack import PackNameError, PayloadError, file_digest, read_footer, read_payload
from pvc_store.packfiles import PackFiles, fan_out, names_in
from pvc_store.store import Damage
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT = b"pvc store 1\n"
LOCK_WAIT_SECONDS = 10.0


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
            f"The store {path} has the format {found!r}; {FORMAT.decode()!r} is known."
        )


class FileStore:
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
        self.packs = PackFiles(root / "packs")
        self._scratch = threading.local()
        self._index_lock = threading.Lock()
        self._index: BlockIndex | None = None

    @classmethod
    def create(cls, root: Path) -> FileStore:
        """A new, empty store; one that is there already is opened."""
        for name in ("packs", "trees", "layouts", "tmp"):
            atomic.make_directory(root / name)
        if not (root / "format").exists():
            atomic.write_file(root / "format", FORMAT)
        return cls(root)

    def close(self) -> None:
        """Close the packs."""
        self.packs.close()

    # Blocks

    def index(self) -> BlockIndex:
        """The index, read or rebuilt at the first use."""
        with self._index_lock:
            if self._index is None:
                self._index = self._load_index()
            return self._index

    def has(self, key: bytes) -> bool:
        """Whether the store holds the block."""
        return key in self.index()

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `Reading.get`."""
        pack, entry = self._find(key)
        with self.packs.opened(pack) as fd:
            where = f"Pack {pack.hex()}"
            return EncodedBlock(entry.form, read_payload(fd, entry, self.scratch(), where))

    def scratch(self) -> memoryview:
        """This thread's buffer for payloads."""
        if not hasattr(self._scratch, "view"):
            self._scratch.view = memoryview(bytearray(BLOCK_BYTES))
        view: memoryview = self._scratch.view
        return view

    def forms(self) -> Iterator[BlockForm]:
        """How each block is coded, in the order of the keys."""
        return (entry.form for _, entry in self.index())

    def _find(self, key: bytes) -> tuple[bytes, Entry]:
        found = self.index().find(key)
        if found is None:
            self.refresh()
            found = self.index().find(key)
        if found is None:
            raise MissingError("block", key.hex())
        return found

    def refresh(self) -> None:
        """Notice packs that other processes have added or removed."""
        with self._index_lock:
            self._index = self._load_index()

    def _load_index(self) -> BlockIndex:
        present = self.packs.names()
        try:
            index = BlockIndex.from_bytes((self.root / "index").read_bytes())
        except (FileNotFoundError, FormatError):
            index = BlockIndex.of({})
        if list(index.packs) == present:
            return index
        index = BlockIndex.of({pack: self._footer(pack) for pack in present})
        with contextlib.suppress(OSError):  # a cache: a store that cannot be written is readable
            atomic.write_file(self.root / "index", index.to_bytes())
        return index

    def _footer(self, pack: bytes) -> tuple[Entry, ...]:
        with self.packs.opened(pack) as fd:
            return read_footer(fd, f"Pack {pack.hex()}")

    # Trees and layouts

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id; see `Store.tree`."""
        data = self._object("tree", tree_id)
        return Tree.from_bytes(data, tree_id, self._whole_tree, f"Tree {tree_id.hex()}")

    def _whole_tree(self, tree_id: bytes) -> Tree:
        where = f"Tree {tree_id.hex()}"
        data = self._object("tree", tree_id)
        if Tree.base_of(data, where) is not None:
            raise DamageError(where, "it is the base of a tree, yet has a base itself")
        return Tree.from_bytes(data, tree_id, self._whole_tree, where)

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
            return self.object_path(what, name).read_bytes()
        except FileNotFoundError:
            raise MissingError(what, name.hex()) from None

    # Changes

    @contextlib.contextmanager
    def writing(self) -> Iterator[Change]:
        """A change: kept when the block ends, dropped when it raises.

        Raises:
            LockedError: another process is removing objects.
        """
        with hold(self.root / "lock", exclusive=False, wait=LOCK_WAIT_SECONDS):
            self.refresh()
            with Change(self) as change:
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

    # Verification

    def stored_size(self) -> int:
        """Bytes that `verify` will read."""
        return sum(self.packs.path(pack).stat().st_size for pack in self.packs.names())

    def verify(self, advance: Callable[[int], None] = lambda _: None) -> Iterator[Damage]:
        """Check every stored byte; see `Store.verify`."""
        for pack in self.packs.names():
            yield from self._verify_pack(pack, advance)
        for what, ids, read in (
            ("tree", self.tree_ids(), self.tree),
            ("layout", self.layout_ids(), self.layout),
        ):
            for object_id in ids:
                try:
                    read(object_id)
                except (DamageError, MissingError, OSError) as error:
                    yield Damage(what, object_id.hex(), str(error))

    def _verify_pack(self, pack: bytes, advance: Callable[[int], None]) -> Iterator[Damage]:
        where = f"Pack {pack.hex()}"
        try:
            with self.packs.opened(pack) as fd:
                digest = file_digest(fd, advance)
                if digest == pack:
                    return
                yield Damage(
                    "pack", pack.hex(), str(PackNameError(where, f"it hashes to {digest.hex()}"))
                )
                for entry in read_footer(fd, where):
                    try:
                        read_payload(fd, entry, self.scratch(), where)
                    except PayloadError as error:
                        yield Damage("block", entry.form.key.hex(), str(error))
        except (FormatError, MissingError, OSError) as error:
            yield Damage("pack", pack.hex(), str(error))
