"""The store in a directory: its objects by the local backend, and what only a directory offers.

    format            "pvc store 1"
    packs/ab/<id>.pack  trees/ab/<id>.tree  layouts/ab/<id>.layout      by the backend
    index             which pack contains a block; rebuilt when it does not fit the packs
    tmp/<uuid>/       a running change; its directory is locked while its process lives
    lock              shared: writers; exclusive: whoever removes objects

Objects never change once they are there.  `store/README.md` has the reasons.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pvc_store import atomic
from pvc_store.backend.local import LocalBackend
from pvc_store.change import StoreChange
from pvc_store.errors import StoreError
from pvc_store.folder import only_one, work_folder
from pvc_store.lock import hold
from pvc_store.object_store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pvc_store.change import Prepared
    from pvc_store.index import BlockIndex

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


class FileStore(ObjectStore):
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
        self._work = root / "tmp"
        self._local = LocalBackend(root, self._work)
        super().__init__(self._local)

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

    def object_path(self, sort: str, object_id: bytes) -> Path:
        """Where a pack, a tree or a layout lies.

        Args:
            sort: "pack", "tree" or "layout".
            object_id: its id.
        """
        objects = {"pack": self.packs, "tree": self.trees, "layout": self.layouts}[sort]
        return self._local.path(objects.name(object_id))

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
                work_folder(self._work) as folder,
                contextlib.closing(StoreChange(self, folder)) as change,
            ):
                yield change
                change.finish()
                with only_one(self._work):
                    change.keep(self._move)
            self.refresh()

    def _move(self, files: Prepared) -> None:
        """Let files of a work folder become objects: renamed, as only a directory can do."""
        atomic.move_into_place([(path, self._local.path(name)) for path, name in files])

    @contextlib.contextmanager
    def removing(self, holder: str) -> Iterator[None]:
        """Nobody writes while the block runs.

        Raises:
            LockedError: other processes are writing.
        """
        with hold(self.root / "lock", exclusive=True, wait=LOCK_WAIT_SECONDS, holder=holder):
            yield

    # The index

    def cached_index(self) -> BlockIndex | None:
        """The index in the file `index`; None if it is missing or cannot be used."""
        from pvc_store.index import read_index

        return read_index(self.root / "index")

    def cache_index(self, index: BlockIndex) -> None:
        """Write the file `index`, if possible: a store that cannot be written can be read."""
        with contextlib.suppress(OSError), work_folder(self._work) as folder:
            atomic.write_new(folder / "index", index.to_bytes())
            atomic.move_into_place([(folder / "index", self.root / "index")])
