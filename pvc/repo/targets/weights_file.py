"""One file of a target: written whole under another name, or patched block by block.

A file without tensors is handled like a safetensors file with one nameless stretch of bytes, so one
code writes, patches and verifies both.
"""

from __future__ import annotations

import os
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
    from pvc.repo.trees.blocks import Blocks

TEMPORARY = ".pvc-tmp"


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
        places = placements(file.header, file.path, Path(file.path))
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

    def fits(self, file: Path) -> bool:
        """Whether an existing file has this size and prefix, so that it can be patched."""
        try:
            fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
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


def write(directory: Path, file: OutFile, blocks: Blocks, crew: Crew) -> None:
    """Put a file into a directory, in place of what was there, in one step.

    Raises:
        VerificationError: it does not read back as written.
        OSError: the disk is full, or refuses.
    """
    final = directory / file.path
    atomic.make_directory(final.parent)
    temporary = final.with_name(f".{final.name[:50]}.{uuid.uuid4().hex}{TEMPORARY}")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        try:
            allocate(fd, file.prefix, file.size)
            Filling(fd, final, blocks, crew, fresh=True).fill(file.stretches)
        finally:
            os.close(fd)
        atomic.move_into_place([(temporary, final)])
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def complete(
    path: Path, file: OutFile, written: Container[str], blocks: Blocks, crew: Crew
) -> None:
    """Write what is missing of a draft, and verify the file.

    Args:
        path: the file, which has its size and prefix.
        file: what it is to hold.
        written: names of the tensors that it holds already.
        blocks: gives the others.
        crew: threads, and who is shown the progress.

    Raises:
        VerificationError: it does not read back as written.
        OSError: the disk refuses.
    """
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        Filling(fd, path, blocks, crew, fresh=True).fill(file.stretches, written)
    finally:
        os.close(fd)


def patch(path: Path, stretches: tuple[Stretch, ...], blocks: Blocks, crew: Crew) -> None:
    """Write some blocks of an existing file, in place.

    Blocks that already are as they should be are not written, so that a patch which was cut short
    can be finished, or undone by the opposite patch.

    Raises:
        VerificationError: it does not read back as written.
        OSError: the disk refuses.
    """
    if not stretches:
        return
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        Filling(fd, path, blocks, crew, fresh=False).fill(stretches)
    finally:
        os.close(fd)


def wrong(directory: Path, file: OutFile, blocks: Blocks, crew: Crew) -> list[str]:
    """Names of the tensors that a file does not hold as it should; its own name if all is wrong."""
    path = directory / file.path
    if not file.fits(path):
        return [file.path]
    found: list[str] = []
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)

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
