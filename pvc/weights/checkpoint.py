"""A checkpoint: a model's folder in the manner of Hugging Face, and exactly what is in it.

Opening reads the headers of the weights and the index, never the weights themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc.weights.errors import ChangedError, CheckpointError, UnreadableError
from pvc.weights.fingerprint import Fingerprint, open_stamped, stamp_now
from pvc.weights.folder import CheckpointFolder, LeftOut
from pvc.weights.index import WeightIndex
from pvc.weights.shard import Shard, read_shard

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pvc.weights.header import TensorPlace


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a model's folder holds.

    Attributes:
        directory: the folder.
        tensors: name -> place, sorted by name.
        shards: the files that hold the tensors, sorted by path.
        files: the other files of the checkpoint, its index among them, sorted; relative, POSIX.
        left_out: what lies in the folder and is not part of the checkpoint, sorted.
        fingerprint: stamps of shards and files, taken before any of them was read.
    """

    directory: Path
    tensors: Mapping[str, TensorPlace]
    shards: tuple[Shard, ...]
    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    fingerprint: Fingerprint

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        """Look at the checkpoint in `directory`.

        Raises:
            CheckpointError: the directory is not a checkpoint, or something in it is wrong.
        """
        folder = CheckpointFolder.scan(directory)
        index = _read_index(folder)
        if index:
            index.check_shards(folder.stamps)
        folder = folder.keep_weights(index.shards() if index else None)
        shards, tensors = _read_shards(folder)
        if index:
            index.check_tensors(tensors)
        return cls(
            directory,
            MappingProxyType(dict(sorted(tensors.items()))),
            shards,
            folder.files(),
            folder.left_out,
            MappingProxyType(folder.stamps),
        )

    def changed_since(self, fingerprint: Fingerprint) -> tuple[str, ...]:
        """The files that are not now as `fingerprint` says, sorted.

        A file that only this checkpoint knows counts as changed while it is there.
        """
        paths = sorted(fingerprint.keys() | self.fingerprint.keys())
        return tuple(
            path for path in paths if stamp_now(self.directory / path) != fingerprint.get(path)
        )

    def check_unchanged(self) -> None:
        """Check that every file is still as it was when the checkpoint was opened.

        Raises:
            ChangedError: one is not.
        """
        for path in self.changed_since(self.fingerprint):
            raise ChangedError(self.directory / path, "the file is another one or was written to")


def _read_index(folder: CheckpointFolder) -> WeightIndex | None:
    name = folder.index()
    if name is None:
        return None
    path = folder.directory / name
    try:
        with os.fdopen(open_stamped(path, folder.stamps[name]), "rb") as file:
            return WeightIndex.from_bytes(file.read(), path)
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error


def _read_shards(folder: CheckpointFolder) -> tuple[tuple[Shard, ...], dict[str, TensorPlace]]:
    shards = []
    tensors: dict[str, TensorPlace] = {}
    for file in folder.weights():
        shard, places = read_shard(folder.directory / file, file, folder.stamps[file])
        shards.append(shard)
        for place in places:
            if place.name in tensors:
                both = f"both {tensors[place.name].file} and {file} hold the tensor {place.name!r}"
                raise CheckpointError(folder.directory, f"In {folder.directory}, {both}.")
            tensors[place.name] = place
    return tuple(shards), tensors
