"""Filling a file: blocks are written to it, made durable, and read back to verify them."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc import parallel
from pvc.errors import PvcError
from pvc.weights.fingerprint import Stamp
from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from pvc.parallel import Crew, Stop
    from pvc.repo.targets.weights_file import Stretch
    from pvc.repo.trees.blocks import Blocks

SYNC_SECONDS = 0.25


class VerificationError(PvcError):
    """A file does not hold what was written to it.

    Attributes:
        path: the file.
        name: the tensor, or the file itself.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        super().__init__(f"{path} does not hold {name} as it was written.")


@dataclass(frozen=True, slots=True)
class Filling:
    """A file while blocks are written to it.

    Attributes:
        fd: the open file.
        path: its name, for messages.
        blocks: gives what is to be written.
        crew: threads, and who is shown the progress.
        fresh: whether nothing was there before, so that nothing can be right already.
    """

    fd: int
    path: Path
    blocks: Blocks
    crew: Crew
    fresh: bool

    def fill(self, stretches: tuple[Stretch, ...], written: Container[str] = ()) -> Stamp:
        """Write blocks, make them durable, and verify them; some tensors are written already.

        Returns:
            The file's stamp before it was verified: a change by somebody else shows in it.
        """
        largest_first = sorted(stretches, key=lambda stretch: -stretch.nbytes())
        missing = [stretch for stretch in largest_first if stretch.tensor.name not in written]
        self.crew.progress.label("Writing")
        with _syncing(self.fd):
            parallel.run(missing, self._write, self.crew.threads)
        atomic.sync(self.fd)
        stamp = Stamp.of(os.fstat(self.fd))
        self.crew.progress.label("Verifying")
        parallel.run(largest_first, self._verify, self.crew.threads)
        return stamp

    def _write(self, stretch: Stretch, stop: Stop) -> None:
        tensor = stretch.tensor
        for index in stretch.indices:
            stop.check()
            out = self.blocks.buffer("out", tensor.block_length(index))
            if self.fresh or key_at(self.fd, stretch, index, out) != tensor.key(index):
                self.blocks.read(tensor, index, out)
                atomic.write_all(self.fd, out.data, stretch.offset + index * BLOCK_BYTES)
            self.crew.progress.advance(len(out))

    def _verify(self, stretch: Stretch, stop: Stop) -> None:
        """Compare what was written: by keys, and whole tensors by their BLAKE3 as well."""
        tensor = stretch.tensor
        hasher = blake3() if len(stretch.indices) == tensor.block_count else None
        for index in stretch.indices:
            stop.check()
            out = self.blocks.buffer("out", tensor.block_length(index))
            if key_at(self.fd, stretch, index, out) != tensor.key(index):
                raise VerificationError(self.path, tensor.name)
            if hasher is not None:
                hasher.update(out.data)
            self.crew.progress.advance(len(out))
        if hasher is not None and hasher.digest() != tensor.digest:
            raise VerificationError(self.path, tensor.name)


def key_at(fd: int, stretch: Stretch, index: int, out: NDArray[np.uint8]) -> bytes:
    """Key of what the file holds at a block's place; b"" where the file ends before."""
    start = stretch.offset + index * BLOCK_BYTES
    whole = atomic.read_all(fd, out.data, start) == len(out)
    return block_key(out.data) if whole else b""


@contextlib.contextmanager
def _syncing(fd: int) -> Iterator[None]:
    """Let the disk work on a file while the block writes it, and not only afterwards.

    Raises:
        OSError: the disk refuses; a later fsync would not say so again.
    """
    written = threading.Event()

    def sync() -> None:
        with atomic.naming(fd):
            while not written.wait(SYNC_SECONDS):
                os.fdatasync(fd)

    with ThreadPoolExecutor(1) as pool:
        syncs = pool.submit(sync)
        try:
            yield
        finally:
            written.set()
        syncs.result()
