"""Mixtures: a directory whose update was cut short holds blocks of two contents, and no others.

A block that was being written may be of both: a disk writes sectors whole, so each of its sectors
is of one of the two.  Anything else was put there by somebody else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pvc import parallel
from pvc_store import atomic
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.parallel import Crew, Stop
    from pvc.repo.targets.directory import Content
    from pvc.repo.targets.open_directory import OpenDirectory
    from pvc.repo.targets.weights_file import OutFile, Stretch
    from pvc.repo.trees.blocks import Blocks

SECTOR_BYTES = 512


@dataclass(frozen=True, slots=True)
class Mixture:
    """A directory between two contents.

    Attributes:
        directory: where an update was cut short.
        contents: what it held before, and was to hold.
        blocks: gives the blocks of both contents.
        crew: threads, and who is shown the progress.
        written: this process was writing just now, and may have failed to write what it should:
            blocks in which the contents differ may hold anything.
    """

    directory: OpenDirectory
    contents: tuple[Content, Content]
    blocks: Blocks
    crew: Crew
    written: bool = False

    def strange(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Names of the tensors and files that are of neither content; sorted by file.

        Args:
            paths: the files to look at; a missing one is of both contents.

        Raises:
            LinkError: a folder in the directory was replaced by a link.
            MissingError, DamageError, MissingBaseError: a block of a content cannot be read.
        """
        files = [{file.path: file for file in content.files} for content in self.contents]
        found: list[str] = []
        for path in sorted(paths):
            if self.directory.status(path) is None:
                continue
            each = (one[path] for one in files if path in one)
            versions = [file for file in each if file.fits(self.directory)]
            found += self._strange_tensors(versions) if versions else [path]
        return tuple(found)

    def _strange_tensors(self, versions: list[OutFile]) -> list[str]:
        """The same for the tensors of a file, of which all versions have the header."""
        found: list[str] = []
        fd = self.directory.open(versions[0].path, os.O_RDONLY)
        pairs = list(zip(versions[0].stretches, versions[-1].stretches, strict=True))
        self.crew.progress.start("Comparing", versions[0].size)

        def compare(pair: tuple[Stretch, Stretch], stop: Stop) -> None:
            for index in pair[0].indices:
                stop.check()
                if not self._is_of(fd, pair, index):
                    found.append(pair[0].tensor.name)
                    return

        try:
            parallel.run(pairs, compare, self.crew.threads)
        finally:
            os.close(fd)
        return sorted(found)

    def _is_of(self, fd: int, pair: tuple[Stretch, Stretch], index: int) -> bool:
        """Whether a block of a file is one of two, or of both."""
        keys = {stretch.tensor.key(index) for stretch in pair}
        raw = self.blocks.buffer("found", pair[0].tensor.block_length(index))
        self.crew.progress.advance(len(raw))
        if self.written and len(keys) > 1:
            return True
        start = pair[0].offset + index * BLOCK_BYTES
        if atomic.read_all(fd, raw.data, start) < len(raw):
            return False
        if block_key(raw.data) in keys:
            return True
        sectors = np.arange(-(start % SECTOR_BYTES), len(raw), SECTOR_BYTES).clip(0)
        equal = []
        for stretch in pair:
            out = self.blocks.buffer("out", len(raw))
            self.blocks.read(stretch.tensor, index, out)
            equal.append(np.logical_and.reduceat(raw == out, sectors))
        return bool(np.logical_or(*equal).all())
