"""Directories that pvc writes weights to: created whole, or brought from one tree to another.

Limits: readers of a directory that is updated in place see old and new blocks until it is done.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from pvc import parallel
from pvc.errors import PvcError
from pvc.repo.targets import weights_file
from pvc.repo.targets.open_directory import LinkError, OpenDirectory, ReplacedError
from pvc.repo.targets.weights_file import OutFile
from pvc.wording import agreeing, shown, size

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping
    from pathlib import Path

    from pvc.parallel import Crew, Stop
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc.repo.targets.weights_file import Stretch
    from pvc.repo.trees.blocks import Blocks
    from pvc.weights.fingerprint import Fingerprint
    from pvc_store.layout import Layout
    from pvc_store.tree import Tensor, Tree


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
        super().__init__(f"{directory} has room for {size(free)}, and {size(needed)} are needed.")


class DriftedError(PvcError):
    """A directory was changed since pvc wrote it.

    Attributes:
        path: the directory.
        names: tensors or files that differ.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.names = names
        listed = shown([name.removeprefix("/") for name in names])
        differ = agreeing(len(names), "differs", "differ")
        super().__init__(f"{path} was changed since pvc wrote it: {listed} {differ}.")


@dataclass(frozen=True)
class Content:
    """Content of a directory: a tree, and the layout by which it becomes files."""

    tree: Tree
    layout: Layout

    @cached_property
    def files(self) -> tuple[OutFile, ...]:
        """All files, in the order of their paths.

        Raises:
            DamageError: layout and tree do not belong together.
        """
        return tuple(OutFile.of(file, self.tree) for file in self.layout.files)

    @cached_property
    def known(self) -> Mapping[str, Tensor]:
        """Tensors and files without tensors, by name."""
        others = map(weights_file.as_tensor, self.layout.others)
        return {**self.tree, **{tensor.name: tensor for tensor in others}}

    def paths(self) -> set[str]:
        """Relative paths of all files."""
        return {file.path for file in self.layout.files}


def create(
    directory: OpenDirectory,
    content: Content,
    blocks: Blocks,
    crew: Crew,
    written: Container[str] = frozenset(),
) -> Fingerprint:
    """Write all files of a content into a directory.

    Args:
        directory: empty, or a draft: its files with tensors have their sizes and headers.
        content: what it is to hold.
        blocks: gives what is to be written.
        crew: threads, and who is shown the progress.
        written: names of the tensors that the draft holds already.

    Returns:
        The stamps of the files, as they were when they were verified.

    Raises:
        NoSpaceError: they do not fit.
        VerificationError: one does not read back as written.
    """
    files = content.files
    drafted = {file.path for file in files if file.fits(directory)}
    check_room(directory, sum(file.size for file in files if file.path not in drafted))
    stretches = [stretch for file in files for stretch in file.stretches]
    missing = [stretch for stretch in stretches if stretch.tensor.name not in written]
    crew.progress.start("Writing", nbytes(missing) + nbytes(stretches))  # which are verified
    stamps = {}
    for file in files:
        if file.path in drafted:
            stamps[file.path] = weights_file.complete(directory, file, written, blocks, crew)
        else:
            stamps[file.path] = weights_file.write(directory, file, blocks, crew)
    directory.sync(drafted)
    return stamps


def update(
    directory: OpenDirectory, before: Content, after: Content, blocks: Blocks, crew: Crew
) -> Fingerprint:
    """Bring a directory from one content to another; also from a mixture of both.

    Only blocks that differ are written.  A file whose header differs is replaced as a whole, and so
    is one that would change and has a second name (a hard link), which keeps the old bytes.

    Returns:
        The stamps of the files that were written, as they were when they were verified.

    Raises:
        LinkError: a folder of one of the files was replaced by a link.
        NoSpaceError: replaced files do not fit.
        VerificationError: a file does not read back as written.
    """
    files = after.files
    fitting = {file.path for file in files if _can_be_patched(directory, file, before)}
    check_room(directory, sum(file.size for file in files if file.path not in fitting))
    stretches = {
        file.path: file.differing(before.known) if file.path in fitting else file.stretches
        for file in files
    }
    written = nbytes(stretch for found in stretches.values() for stretch in found)
    crew.progress.start("Writing", 2 * written)  # and verified
    for path in sorted(before.paths() - after.paths()):  # first: a folder may take a file's place
        directory.remove(path)
    stamps = {}
    for file in files:
        found = stretches[file.path]
        if file.path not in fitting:
            stamps[file.path] = weights_file.write(directory, file, blocks, crew)
        elif found:
            stamps[file.path] = weights_file.patch(directory, file.path, found, blocks, crew)
    directory.sync(before.paths() | after.paths())
    return stamps


def difference(before: Content, after: Content) -> int:
    """Bytes of the blocks in which two contents differ."""
    return nbytes(stretch for file in after.files for stretch in file.differing(before.known))


def nbytes(stretches: Iterable[Stretch]) -> int:
    """Bytes of all stretches."""
    return sum(stretch.nbytes() for stretch in stretches)


def check_readable(before: Content, after: Content, blocks: Blocks, crew: Crew) -> None:
    """Read every block that an update would write, before it changes anything.

    Raises:
        MissingBaseError, MissingError, DamageError: one cannot.
    """
    stretches = [stretch for file in after.files for stretch in file.differing(before.known)]

    def read(stretch: Stretch, stop: Stop) -> None:
        for index in stretch.indices:
            stop.check()
            out = blocks.buffer("out", stretch.tensor.block_length(index))
            blocks.read(stretch.tensor, index, out)
            crew.progress.advance(len(out))

    crew.progress.start("Reading", nbytes(stretches))
    parallel.run(stretches, read, crew.threads)


def check_free(directory: Path, before: Content, after: Content) -> None:
    """Make sure that nothing but files of `before` lies where new files are to be written.

    Raises:
        InTheWayError: something does.
    """
    known = before.paths()
    for path in sorted(after.paths() - known):
        found = _in_the_way(directory, path, known)
        if found is not None:
            raise InTheWayError(found)


def _in_the_way(directory: Path, path: str, known: set[str]) -> Path | None:
    *folders, _ = itertools.accumulate(path.split("/"), "{}/{}".format)
    for folder in folders:
        here = directory / folder
        if os.path.lexists(here) and (here.is_symlink() or not here.is_dir()):
            return None if folder in known else here
    here = directory / path
    if here.is_dir() and not here.is_symlink():  # it goes when the last file in it does
        inside = (found for found in here.rglob("*") if not found.is_dir())
        left = {found.relative_to(directory).as_posix() for found in inside}
        return None if left and left <= known else here
    return here if os.path.lexists(here) else None


def wrong(
    directory: OpenDirectory, content: Content, paths: Iterable[str], blocks: Blocks, crew: Crew
) -> list[str]:
    """Names of the tensors and files that do not hold what they should, in some files."""
    chosen = set(paths)
    files = [file for file in content.files if file.path in chosen]
    crew.progress.start("Comparing", sum(file.size for file in files))
    return [name for file in files for name in weights_file.wrong(directory, file, blocks, crew)]


def changed(directory: OpenDirectory, record: DirectoryRecord, paths: Iterable[str]) -> list[str]:
    """Those of some files that are not as they were written, going by their stamps; sorted.

    Raises:
        LinkError: a folder of one of them was replaced by a link.
    """
    now = directory.stamps(paths := sorted(paths))
    return [name for name in paths if name not in now or now[name] != record.stamps.get(name)]


def is_untouched(record: DirectoryRecord) -> bool:
    """Whether a directory has had its tree for as long as pvc knows it, and no other."""
    if not record.first or not record.stamps:
        return False
    try:
        with OpenDirectory(record.path) as directory:
            same = record.is_of(directory.identity)
            return same and not changed(directory, record, record.stamps)
    except (ReplacedError, LinkError, OSError):
        return False


def check_undrifted(
    directory: OpenDirectory, record: DirectoryRecord, content: Content, blocks: Blocks, crew: Crew
) -> Fingerprint:
    """Make sure that a directory still holds what its record says.

    Only files whose stamps differ are read.

    Returns:
        The stamps of all files, as they were before any was read.

    Raises:
        DriftedError: it does not.
        ReplacedError, LinkError: it, or a folder in it, was replaced.
    """
    if not record.is_of(directory.identity):
        raise ReplacedError(directory.path, "another directory")
    stamps = directory.stamps(content.paths())
    names = changed(directory, record, content.paths())
    if names:
        found = wrong(directory, content, names, blocks, crew)
        if found:
            raise DriftedError(record.path, tuple(found))
    return stamps


def remove_leftovers(directory: OpenDirectory, paths: Iterable[str]) -> None:
    """Remove what a killed process was writing under other names, for some files."""
    for path in paths:
        for name in directory.names(path):
            if weights_file.is_temporary_of(name, path):
                directory.remove("/".join([*path.split("/")[:-1], name]))


def _can_be_patched(directory: OpenDirectory, file: OutFile, before: Content) -> bool:
    status = directory.status(file.path)
    if status is None or not file.fits(directory):
        return False
    return status.st_nlink == 1 or not file.differing(before.known)


def check_room(directory: OpenDirectory, needed: int) -> None:
    """Make sure that a directory's file system has room.

    Raises:
        NoSpaceError: it has not.
    """
    free = directory.free_bytes()
    if needed > free:
        raise NoSpaceError(directory.path, needed, free)
