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
import threading
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES, BlockForm, EncodedBlock, Entry
from pvc_store.change import Change
from pvc_store.errors import DamageError, FormatError, MissingError, StoreError
from pvc_store.folder import work_folder
from pvc_store.frame import MAX_FILE_BYTES, OversizeError
from pvc_store.index import BlockIndex
from pvc_store.layout import Layout
from pvc_store.lock import hold
from pvc_store.pack import PackNameError, PayloadError, file_digest, read_footer, read_payload
from pvc_store.packfiles import PackFiles, fan_out, names_in
from pvc_store.store import Damage, verify_objects
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
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
            f"{path} is no store that this version of pvc can read: its format file says "
            f"{found!r}, not {FORMAT.decode()!r}."
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
        self._unreadable: list[bytes] = []

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

    def form(self, key: bytes) -> BlockForm:
        """How the block is coded; see `Reading.form`."""
        return self._find(key)[1].form

    def get(self, key: bytes) -> EncodedBlock:
        """The encoded block; see `Reading.get`."""
        pack, entry = self._find(key)
        try:
            return self._read(pack, entry)
        except MissingError:  # another process has moved the block into another pack
            self.refresh()
            return self._read(*self._find(key))

    def _find(self, key: bytes) -> tuple[bytes, Entry]:
        found = self.index().find(key)
        if found is None:
            self.refresh()
            found = self.index().find(key)
        if found is None:
            for pack in self._unreadable:
                self._footer(pack)  # says what is wrong with a pack that may hold the block
            raise MissingError("block", key.hex())
        return found

    def _read(self, pack: bytes, entry: Entry) -> EncodedBlock:
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
        present = set(self.packs.names())
        index = self._index
        if index is None or not present.issuperset(index.packs):
            index = self._stored_index()
        if not present.issuperset(index.packs):
            index = BlockIndex.of(())
        self._unreadable = []
        new = present.difference(index.packs)
        if new:
            index = index.plus(self._footers(sorted(new)))
            if not self._unreadable:
                self._store_index(index)
        return index

    def _stored_index(self) -> BlockIndex:
        try:
            return BlockIndex.from_bytes((self.root / "index").read_bytes())
        except (FileNotFoundError, FormatError):
            return BlockIndex.of(())

    def _store_index(self, index: BlockIndex) -> None:
        # It is a cache: a store that cannot be written can be read.
        with contextlib.suppress(OSError), work_folder(self.root / "tmp") as folder:
            atomic.write_new(folder / "index", index.to_bytes())
            atomic.move_into_place([(folder / "index", self.root / "index")])

    def _footers(self, packs: Iterable[bytes]) -> Iterator[tuple[bytes, tuple[Entry, ...]]]:
        """The entries of packs; one that cannot be read takes no other with it."""
        for pack in packs:
            try:
                entries = self._footer(pack)
            except (FormatError, MissingError, OSError):
                self._unreadable.append(pack)
            else:
                yield pack, entries

    def _footer(self, pack: bytes) -> tuple[Entry, ...]:
        with self.packs.opened(pack) as fd:
            return read_footer(fd, f"Pack {pack.hex()}")

    # Trees and layouts

    def tree(self, tree_id: bytes) -> Tree:
        """The tree of an id; see `Store.tree`."""
        data = self._object("tree", tree_id)
        base_file = functools.partial(self._object, "tree")
        return Tree.from_bytes(data, tree_id, base_file, f"Tree {tree_id.hex()}")

    def holds_whole(self, tree_id: bytes) -> bool:
        """Whether a tree is here, sound, and not stored against a base."""
        try:
            self.tree(tree_id)
            return Tree.base_of(self._object("tree", tree_id), "Tree") is None
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
            with self.object_path(what, name).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            raise MissingError(what, name.hex()) from None
        if len(data) > MAX_FILE_BYTES:
            raise OversizeError(
                f"{what.capitalize()} {name.hex()}", f"it has more than {MAX_FILE_BYTES} bytes"
            )
        return data

    # Changes

    @contextlib.contextmanager
    def writing(self) -> Iterator[Change]:
        """A change: kept when the block ends, dropped when it raises.

        Raises:
            LockedError: another process is removing objects.
        """
        with hold(self.root / "lock", exclusive=False, wait=LOCK_WAIT_SECONDS):
            self.refresh()
            with (
                work_folder(self.root / "tmp") as folder,
                contextlib.closing(Change(self, folder)) as change,
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
                yield Damage("pack", pack.hex(), str(error))
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
                except PayloadError as damage:
                    yield Damage("block", entry.form.key.hex(), str(damage))
