"""One file of a target: written whole under another name, or patched block by block.

A file without tensors is handled like a safetensors file with one nameless stretch of bytes, so one
code writes, patches and verifies both.
"""

from __future__ import annotations

import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pvc import parallel
from pvc.repo.targets.write_and_verify import Filling, key_at
from pvc.weights.header import placements, shard_prefix
from pvc_store import atomic
from pvc_store.errors import DamageError
from pvc_store.kinds import KIND_BY_NAME
from pvc_store.layout import OtherFile, WeightsFile
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from pvc.parallel import Crew, Stop
    from pvc.repo.targets.open_directory import OpenDirectory
    from pvc.repo.trees.blocks import Blocks
    from pvc.weights.fingerprint import Stamp

TEMPORARY = ".pvc-tmp"
NAME_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Stretch:
    """A tensor's bytes in a file, all of them or some of their blocks.

    Attributes:
        tensor: what they are.
        offset: where the tensor's first byte lies in the file.
        indices: the blocks in question.
    """

    tensor: Tensor
    offset: int
    indices: range | tuple[int, ...]

    def nbytes(self) -> int:
        """Bytes of the blocks in question."""
        return sum(self.tensor.block_length(index) for index in self.indices)


@dataclass(frozen=True, slots=True)
class OutFile:
    """What a file is to hold.

    Attributes:
        path: relative POSIX path.
        prefix: the bytes before the first stretch.
        stretches: the rest, all blocks of it.
        size: bytes of the file.
    """

    path: str
    prefix: bytes
    stretches: tuple[Stretch, ...]
    size: int

    @classmethod
    def of(cls, file: WeightsFile | OtherFile, tree: Tree) -> OutFile:
        """The file of a layout, filled from a tree.

        Raises:
            DamageError: layout and tree do not belong together.
        """
        if isinstance(file, OtherFile):
            return cls(file.path, b"", (_whole(as_tensor(file), 0),), file.size)
        places = placements(file.header, file.path, Path(file.path), apart=file.apart)
        for place in places:
            tensor = tree.get(place.name)
            if tensor is None or (tensor.kind, tensor.shape) != (place.kind, place.shape):
                detail = f"its tree holds no {place.kind.name} {list(place.shape)} {place.name!r}"
                raise DamageError(f"The layout of {file.path}", detail)
        prefix = shard_prefix(file.header)
        stretches = tuple(_whole(tree[place.name], place.offset) for place in places)
        return cls(file.path, prefix, stretches, len(prefix) + sum(p.nbytes for p in places))

    def differing(self, before: Mapping[str, Tensor]) -> tuple[Stretch, ...]:
        """The stretches, with only those blocks whose keys were others before."""
        found = ((stretch, _other_keys(stretch.tensor, before)) for stretch in self.stretches)
        return tuple(Stretch(s.tensor, s.offset, indices) for s, indices in found if indices)

    def fits(self, directory: OpenDirectory) -> bool:
        """Whether a directory's file has this size and prefix, so that it can be patched.

        Raises:
            LinkError: one of its folders is a link.
        """
        try:
            fd = directory.open(self.path, os.O_RDONLY)
        except OSError:
            return False
        try:
            right_size = os.fstat(fd).st_size == self.size
            return right_size and os.pread(fd, len(self.prefix), 0) == self.prefix
        finally:
            os.close(fd)


def as_tensor(file: OtherFile) -> Tensor:
    """A file without tensors, seen as one of bytes; no path of a layout begins with a slash."""
    return Tensor(f"/{file.path}", KIND_BY_NAME["U8"], (file.size,), file.digest, file.keys)


def _whole(tensor: Tensor, offset: int) -> Stretch:
    return Stretch(tensor, offset, range(tensor.block_count))


def _other_keys(tensor: Tensor, before: Mapping[str, Tensor]) -> range | tuple[int, ...]:
    old = before.get(tensor.name)
    if old is None or (old.kind, old.shape) != (tensor.kind, tensor.shape):
        return range(tensor.block_count)
    if old.keys == tensor.keys:
        return ()
    return tuple(i for i in range(tensor.block_count) if old.key(i) != tensor.key(i))


def allocate(fd: int, prefix: bytes, size: int) -> None:
    """Give a new file its size, and the bytes before its first stretch.

    Raises:
        OSError: the disk is full, or refuses.
    """
    if size:
        with atomic.naming(fd):
            os.posix_fallocate(fd, 0, size)
    atomic.write_all(fd, prefix, 0)


def write(directory: OpenDirectory, file: OutFile, blocks: Blocks, crew: Crew) -> Stamp:
    """Put a file into a directory, in place of what was there, in one step.

    Returns:
        Its stamp, taken before it was verified.

    Raises:
        VerificationError: it does not read back as written.
        LinkError: one of its folders is a link.
        OSError: the disk is full, or refuses.
    """
    directory.make_folders(file.path)
    temporary = temporary_beside(file.path)
    fd = directory.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    try:
        allocate(fd, file.prefix, file.size)
        filling = Filling(fd, directory.path / file.path, blocks, crew, fresh=True)
        stamp = filling.fill(file.stretches)
        directory.replace(temporary, file.path)
        return stamp.moved(os.fstat(fd))
    except BaseException:
        directory.remove(temporary)
        raise
    finally:
        os.close(fd)


def temporary_beside(path: str) -> str:
    """A new name for what will become a file or directory, beside it."""
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}.{name[:NAME_CHARACTERS]}.{uuid.uuid4().hex}{TEMPORARY}"


def is_temporary_of(name: str, path: str) -> bool:
    """Whether `temporary_beside` can have made a name, without folders, for a path."""
    stem = re.escape(f".{path.rpartition('/')[2][:NAME_CHARACTERS]}.")
    return re.fullmatch(f"{stem}[0-9a-f]{{32}}{re.escape(TEMPORARY)}", name) is not None


def complete(
    directory: OpenDirectory, file: OutFile, written: Container[str], blocks: Blocks, crew: Crew
) -> Stamp:
    """Write what is missing of a draft, and verify the file.

    Args:
        directory: where the file is; it has its size and prefix.
        file: what it is to hold.
        written: names of the tensors that it holds already.
        blocks: gives the others.
        crew: threads, and who is shown the progress.

    Returns:
        Its stamp, taken before it was verified.

    Raises:
        VerificationError: it does not read back as written.
        OSError: the disk refuses.
    """
    fd = directory.open(file.path, os.O_RDWR)
    try:
        filling = Filling(fd, directory.path / file.path, blocks, crew, fresh=True)
        return filling.fill(file.stretches, written)
    finally:
        os.close(fd)


def patch(
    directory: OpenDirectory,
    path: str,
    stretches: tuple[Stretch, ...],
    blocks: Blocks,
    crew: Crew,
) -> Stamp:
    """Write some blocks of an existing file, in place.

    Blocks that already are as they should be are not written, so that a patch which was cut short
    can be finished, or undone by the opposite patch.

    Returns:
        The file's stamp, taken before the blocks were verified.

    Raises:
        VerificationError: it does not read back as written.
        OSError: the disk refuses.
    """
    fd = directory.open(path, os.O_RDWR)
    try:
        return Filling(fd, directory.path / path, blocks, crew, fresh=False).fill(stretches)
    finally:
        os.close(fd)


def wrong(directory: OpenDirectory, file: OutFile, blocks: Blocks, crew: Crew) -> list[str]:
    """Names of the tensors that a file does not hold as it should; its own name if all is wrong."""
    if not file.fits(directory):
        return [file.path]
    found: list[str] = []
    fd = directory.open(file.path, os.O_RDONLY)

    def check(stretch: Stretch, stop: Stop) -> None:
        for index in stretch.indices:
            stop.check()
            out = blocks.buffer("out", stretch.tensor.block_length(index))
            crew.progress.advance(len(out))
            if key_at(fd, stretch, index, out) != stretch.tensor.key(index):
                found.append(stretch.tensor.name)
                return

    try:
        parallel.run(file.stretches, check, crew.threads)
    finally:
        os.close(fd)
    return sorted(found)
