"""The store in memory: for tests, and the pattern of stores whose backend is not a directory."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pvc_store.backend.memory import MemoryBackend
from pvc_store.change import StoreChange
from pvc_store.object_store import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc_store.backend import StoreBackend
    from pvc_store.change import Prepared


class MemoryStore(ObjectStore):
    """A store over the memory backend; safe for several threads.

    Args:
        backend: the objects, perhaps those of another store; none if it is left out.
    """

    def __init__(self, backend: StoreBackend | None = None) -> None:
        super().__init__(MemoryBackend() if backend is None else backend)
        self._keeping = threading.Lock()

    @contextlib.contextmanager
    def writing(self) -> Iterator[StoreChange]:
        """A change: kept when the block ends, dropped when it raises."""
        self.refresh()
        with (
            tempfile.TemporaryDirectory(prefix="pvc-") as folder,
            contextlib.closing(StoreChange(self, Path(folder))) as change,
        ):
            yield change
            change.finish()
            with self._keeping:
                change.keep(self._put)
        self.refresh()

    def _put(self, files: Prepared) -> None:
        for path, name in files:
            self.backend.put(name, path)
