"""Whether a checkpoint is visibly whole: what lies there in place of weights, and what is missing.

adapter        tensors of a LoRA adapter, which are nothing without the model they were made for
pointer        a text of git-lfs in place of a file that was not downloaded
shard          model-00001-of-00003.safetensors without the two others
empty tensor   shape [0], which DeepSpeed ZeRO-3 leaves of a weight that it did not gather
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from pvc.weights.errors import CheckpointError, UnreadableError
from pvc.weights.fingerprint import open_stamped
from pvc.weights.tensor_names import role
from pvc.wording import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from pvc.weights.fingerprint import Stamp
    from pvc.weights.header import TensorPlace

POINTER = b"version https://git-lfs.github.com/spec/"
POINTER_BYTES = 1024
"""A pointer of git-lfs is shorter."""

_NUMBERED = re.compile(r"(.*?)-?(\d{4,6})-of-(\d{4,6})\.safetensors")
_LORA = re.compile(r"(^|\.)lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\.|$)")


class AdapterError(CheckpointError):
    """A directory holds a LoRA adapter, not a model.

    Attributes:
        file: its weights, relative to the directory.
    """

    def __init__(self, path: Path, file: str) -> None:
        self.file = file
        super().__init__(
            path,
            f"{path} is an adapter ({file}), not a whole model: the sum of two adapters' "
            "factors is not the sum of what they do.",
        )


class PointerError(CheckpointError):
    """A file is a pointer of git-lfs: the file itself was not downloaded."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, f"{path} is a pointer of git-lfs: the file itself was not downloaded."
        )


class MissingShardError(CheckpointError):
    """Some of the numbered files of a sharded checkpoint are missing.

    Attributes:
        missing: their numbers, from 1.
        count: how many files there ought to be.
    """

    def __init__(self, path: Path, missing: tuple[int, ...], count: int) -> None:
        self.missing = missing
        self.count = count
        super().__init__(
            path,
            f"{path} is not whole: of {count} shards number {shown([str(n) for n in missing])} "
            "is missing.",
        )


class EmptyWeightsError(CheckpointError):
    """Weights of a checkpoint are empty.

    Attributes:
        names: the tensors.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.names = names
        super().__init__(
            path,
            f"{path} is not whole: tensors are empty, as DeepSpeed ZeRO-3 leaves weights that it "
            f"did not gather: {shown(names)}.",
        )


def check_numbers(directory: Path, shards: Iterable[str]) -> None:
    """Check that numbered shards are all there.

    Raises:
        MissingShardError: they are not.
    """
    found: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for shard in shards:
        match = _NUMBERED.fullmatch(shard)
        if match is not None:
            found[match[1], int(match[3])].add(int(match[2]))
    for (_, count), numbers in sorted(found.items()):
        if len(numbers) < count:
            first = 0 if 0 in numbers else 1
            missing = tuple(sorted(set(range(first, first + count)) - numbers))
            raise MissingShardError(directory, missing, count)


def check_pointers(directory: Path, stamps: Mapping[str, Stamp]) -> None:
    """Check that no file is a pointer of git-lfs.

    Raises:
        PointerError: one is.
        ChangedError, UnreadableError: one cannot be read.
    """
    for path, stamp in stamps.items():
        if stamp.size < POINTER_BYTES and _start(directory / path, stamp) == POINTER:
            raise PointerError(directory / path)


def check_adapter(directory: Path, tensors: Mapping[str, TensorPlace]) -> None:
    """Check that the tensors of a model are not those of an adapter alone.

    Raises:
        AdapterError: they are.
    """
    if tensors and all(_LORA.search(name) for name in tensors):
        raise AdapterError(directory, next(iter(tensors.values())).file)


def check_filled(directory: Path, tensors: Mapping[str, TensorPlace]) -> None:
    """Check that no weight is empty.

    Raises:
        EmptyWeightsError: some are.
    """
    empty = tuple(
        sorted(
            name
            for name, place in tensors.items()
            if place.shape == (0,) and (name.endswith("weight") or role(name) != "other")
        )
    )
    if empty:
        raise EmptyWeightsError(directory, empty)


def is_adapters(name: str) -> bool:
    """Whether a tensor of this name is an adapter's."""
    return _LORA.search(name) is not None


def _start(path: Path, stamp: Stamp) -> bytes:
    fd = open_stamped(path, stamp)
    try:
        return os.pread(fd, len(POINTER), 0)
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error
    finally:
        os.close(fd)
