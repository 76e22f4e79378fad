"""Directories that pvc writes weights to: created whole, or brought from one tree to another.

Limits: readers of a directory that is updated in place see old and new blocks until it is done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo import outfile
from pvc.repo.outfile import TEMPORARY, OutFile
from pvc.weights.fingerprint import stamp_now
from pvc_store import atomic
from pvc_store.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pvc.repo.blocks import Blocks
    from pvc.repo.workers import Crew
    from pvc.weights.fingerprint import Fingerprint
    from pvc_store.layout import Layout


class InTheWayError(PvcError):
    """A file that pvc did not write lies where one is to be written.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        super().__init__(f"{path} is in the way, and pvc did not write it.")


class NoSpaceError(PvcError):
    """The file system has too little room.

    Attributes:
        directory: where it was needed.
        needed: bytes.
        free: bytes.
    """

    def __init__(self, directory: Path, needed: int, free: int) -> None:
        self.directory = directory
        self.needed = needed
        self.free = free
        super().__init__(f"{directory} has room for {free} bytes, and {needed} are needed.")


@dataclass(frozen=True)
class Content:
    """What a directory holds: weights, and how they lie in files."""

    tree: Tree
    layout: Layout

    def files(self) -> list[OutFile]:
        """All files, in the order of their paths."""
        return [OutFile.of(file, self.tree) for file in self.layout.files]

    @cached_property
    def known(self) -> Tree:
        """Tensors and files without tensors, all as one tree."""
        return Tree([*self.tree.values(), *map(outfile.as_tensor, self.layout.others)])

    def paths(self) -> set[str]:
        """Relative paths of all files."""
        return {file.path for file in self.layout.files}


def create(directory: Path, content: Content, blocks: Blocks, crew: Crew) -> None:
    """Write all files of a content into an empty directory.

    Raises:
        NoSpaceError: they do not fit.
        VerificationError: one does not read back as written.
    """
    files = content.files()
    needed = sum(file.size for file in files)
    _check_room(directory, needed)
    crew.progress.start("Writing", needed)
    for file in files:
        outfile.write(directory, file, blocks, crew)


def update(directory: Path, before: Content, after: Content, blocks: Blocks, crew: Crew) -> None:
    """Bring a directory from one content to another; also from a mixture of both.

    Only blocks that differ are written.  A file whose header differs is replaced as a whole.

    Raises:
        NoSpaceError: replaced files do not fit.
        VerificationError: a file does not read back as written.
    """
    files = after.files()
    fitting = {file.path for file in files if file.fits(directory / file.path)}
    _check_room(directory, sum(file.size for file in files if file.path not in fitting))
    stretches = {
        file.path: file.differing(before.known) if file.path in fitting else file.stretches
        for file in files
    }
    crew.progress.start("Writing", sum(s.nbytes() for all_ in stretches.values() for s in all_))
    for file in files:
        if file.path in fitting:
            outfile.patch(directory / file.path, stretches[file.path], blocks, crew)
        else:
            outfile.write(directory, file, blocks, crew)
    for path in sorted(before.paths() - after.paths()):
        (directory / path).unlink(missing_ok=True)
        _remove_empty(directory, path)
    for folder in {(directory / path).parent for path in before.paths() | after.paths()}:
        if folder.is_dir():
            atomic.sync_directory(folder)


def difference(before: Content, after: Content) -> int:
    """Bytes of the blocks in which two contents differ."""
    changed = (file.differing(before.known) for file in after.files())
    return sum(stretch.nbytes() for stretches in changed for stretch in stretches)


def check_free(directory: Path, paths: Iterable[str]) -> None:
    """Make sure that no files lie where new ones are to be written.

    Raises:
        InTheWayError: one does.
    """
    for path in sorted(paths):
        if os.path.lexists(directory / path):
            raise InTheWayError(directory / path)


def wrong(
    directory: Path, content: Content, paths: Iterable[str], blocks: Blocks, crew: Crew
) -> list[str]:
    """What some files of a directory do not hold as they should: names of tensors, or files."""
    chosen = set(paths)
    files = [file for file in content.files() if file.path in chosen]
    crew.progress.start("Comparing", sum(file.size for file in files))
    return [name for file in files for name in outfile.wrong(directory, file, blocks, crew)]


def stamps(directory: Path, content: Content) -> Fingerprint:
    """Stamps of all files, as they are now."""
    found = {path: stamp_now(directory / path) for path in sorted(content.paths())}
    return {path: stamp for path, stamp in found.items() if stamp is not None}


def remove_leftovers(directory: Path) -> None:
    """Remove what a killed process was writing under another name."""
    for path in directory.rglob(f".*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _remove_empty(directory: Path, path: str) -> None:
    for folder in (directory / path).parents:
        if folder == directory or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def _check_room(directory: Path, needed: int) -> None:
    found = os.statvfs(directory)
    free = found.f_bavail * found.f_frsize
    if needed > free:
        raise NoSpaceError(directory, needed, free)
