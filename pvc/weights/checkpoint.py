"""A checkpoint: a model's folder in the manner of Hugging Face, and exactly what is in it.

Opening reads the headers of the weights and the index, never the weights themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc.weights.errors import ChangedError, CheckpointError, UnreadableError
from pvc.weights.fingerprint import Fingerprint, Stamp, open_stamped, stamp_now
from pvc.weights.folder import Folder, LeftOut
from pvc.weights.header import TensorPlace, check_size, placements, read_header
from pvc.weights.index import check_shards, check_tensors, parse_index

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class DuplicateTensorError(CheckpointError):
    """Two files of weights hold a tensor of the same name.

    Attributes:
        path: the checkpoint's directory.
        name: the tensor.
        files: the two files, relative to the directory.
    """

    def __init__(self, path: Path, name: str, files: tuple[str, str]) -> None:
        self.path = path
        self.name = name
        self.files = files
        super().__init__(f"In {path}, both {files[0]} and {files[1]} hold the tensor {name!r}.")


@dataclass(frozen=True, slots=True)
class Shard:
    """One safetensors file of a checkpoint.

    Attributes:
        path: relative to the checkpoint's directory, in POSIX form.
        header: the header's bytes as in the file, without the length before them.
        size: bytes of the file.
        names: its tensors, in the order of their bytes.
    """

    path: str
    header: bytes
    size: int
    names: tuple[str, ...]


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
            CheckpointError: the directory is not a checkpoint, or something in it is wrong; each
                kind of mistake has its own subclass.
        """
        folder = Folder.scan(directory)
        index = folder.index()
        weight_map = None if index is None else _read_index(directory / index, folder.stamps[index])
        if index is not None and weight_map is not None:
            check_shards(weight_map, folder.weights, directory / index)
        folder.choose(None if weight_map is None else set(weight_map.values()))
        shards, tensors = _read_shards(folder)
        if index is not None and weight_map is not None:
            check_tensors(weight_map, tensors, directory / index)
        return cls(
            directory,
            MappingProxyType(dict(sorted(tensors.items()))),
            shards,
            tuple(folder.files),
            tuple(folder.left_out),
            MappingProxyType(dict(sorted(folder.stamps.items()))),
        )

    def changed_since(self, fingerprint: Fingerprint) -> tuple[str, ...]:
        """The files that are not now as `fingerprint` says, sorted.

        Files that only the fingerprint or only this checkpoint knows are among them, if they are now
        there or no longer there.
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


def _read_index(path: Path, stamp: Stamp) -> dict[str, str]:
    fd = open_stamped(path, stamp)
    try:
        with open(fd, "rb") as file:
            raw = file.read()
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error
    return parse_index(raw, path)


def _read_shards(folder: Folder) -> tuple[tuple[Shard, ...], dict[str, TensorPlace]]:
    shards = []
    tensors: dict[str, TensorPlace] = {}
    for file in folder.weights:
        shard, places = _read_shard(folder.directory / file, file, folder.stamps[file])
        shards.append(shard)
        for place in places:
            if place.name in tensors:
                pair = (tensors[place.name].file, file)
                raise DuplicateTensorError(folder.directory, place.name, pair)
            tensors[place.name] = place
    return tuple(shards), tensors


def _read_shard(path: Path, file: str, stamp: Stamp) -> tuple[Shard, tuple[TensorPlace, ...]]:
    fd = open_stamped(path, stamp)
    try:
        header = read_header(fd, stamp.size, path)
    except OSError as error:
        raise UnreadableError(path, str(error.strerror)) from error
    finally:
        os.close(fd)
    places = placements(header, file, path)
    check_size(places, header, stamp.size, path)
    return Shard(file, header, stamp.size, tuple(place.name for place in places)), places
