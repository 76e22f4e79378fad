"""A draft of a directory: blocks are written to their places while the tree is still computed.

A draft has files of the right sizes and headers, and holds what was computed; the rest is filled
in, and all of it verified, when the directory is created from the finished tree.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.repo.targets.directory import check_room
from pvc.repo.targets.weights_file import allocate
from pvc.weights.header import placements, shard_prefix
from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pvc.repo.targets.open_directory import OpenDirectory
    from pvc_store.layout import Layout


class Draft:
    """Files of weights that are being computed; safe for several threads.

    Args:
        directory: empty.

    Attributes:
        written: names of the tensors of which blocks were put here.
    """

    def __init__(self, directory: OpenDirectory) -> None:
        self.written: set[str] = set()
        self._directory = directory
        self._places: dict[str, tuple[str, int]] = {}

    def begin(self, layout: Layout) -> Draft:
        """Make all files with tensors.

        Raises:
            NoSpaceError: they do not fit.
            OSError: the disk refuses.
        """
        files = [
            (file, placements(file.header, file.path, Path(file.path), apart=file.apart))
            for file in layout.weights
        ]
        check_room(self._directory, sum(place.nbytes for _, places in files for place in places))
        for file, places in files:
            self._places.update((place.name, (file.path, place.offset)) for place in places)
            prefix = shard_prefix(file.header)
            self._begin(file.path, prefix, len(prefix) + sum(place.nbytes for place in places))
        return self

    def put(self, tensor: str, index: int, raw: NDArray[np.uint8]) -> None:
        """Write one block of a tensor.

        Raises:
            OSError: the disk refuses.
        """
        path, offset = self._places[tensor]
        self.written.add(tensor)
        fd = self._directory.open(path, os.O_WRONLY)
        try:
            atomic.write_all(fd, raw.data, offset + index * BLOCK_BYTES)
        finally:
            os.close(fd)

    def _begin(self, path: str, prefix: bytes, size: int) -> None:
        self._directory.make_folders(path)
        fd = self._directory.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            allocate(fd, prefix, size)
        finally:
            os.close(fd)
