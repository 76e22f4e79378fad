"""A checkpoint: a model's folder in the manner of Hugging Face, and exactly what is in it.

Opening reads the headers of the weights and the index, never the weights themselves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc.weights.errors import ChangedError, CheckpointError, UnreadableError
from pvc.weights.fingerprint import Fingerprint, open_stamped, stamp_now
from pvc.weights.folder import CheckpointFolder, LeftOut
from pvc.weights.index import WeightIndex
from pvc.weights.refit import refit
from pvc.weights.shard import Shard, read_shard
from pvc.weights.whole import check_adapter, check_filled, check_numbers, check_pointers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pvc.weights.header import TensorPlace


ADAPTER_CONFIG = "adapter_config.json"


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
        rewritten: bytes that stand for those of some of the files; see `refit`.
        notes: what is to be known about it, each a phrase.
        is_refit: whether its files have other headers than its shards; see `refit`.
    """

    directory: Path
    tensors: Mapping[str, TensorPlace]
    shards: tuple[Shard, ...]
    files: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    fingerprint: Fingerprint
    rewritten: Mapping[str, bytes] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    is_refit: bool = False

    @classmethod
    def open(cls, directory: Path) -> Checkpoint:
        """Look at the checkpoint in `directory`.

        Raises:
            CheckpointError: the directory is not a checkpoint, or something in it is wrong.
        """
        folder = CheckpointFolder.scan(directory)
        check_pointers(directory, folder.stamps)
        index = _read_index(folder)
        if index:
            index.check_shards(folder.stamps)
        folder = folder.keep_weights(index.shards() if index else None)
        shards, tensors, shadowed = _read_shards(folder, index)
        own = {name: place for name, place in tensors.items() if place.file in folder.shards}
        if index:
            index.check_tensors(own)
        check_adapter(directory, own)
        check_numbers(directory, folder.apart())
        check_filled(directory, tensors)
        found = cls(
            directory,
            MappingProxyType(dict(sorted(tensors.items()))),
            shards,
            folder.files(),
            folder.left_out,
            MappingProxyType(folder.stamps),
            notes=(*_adapter_notes(folder), *shadowed),
        )
        return refit(found, {name: name for name in found.tensors}) if shadowed else found

    @property
    def own_tensors(self) -> Mapping[str, TensorPlace]:
        """The tensors of the model itself, without those of files that stand apart."""
        apart = {shard.path for shard in self.shards if shard.apart}
        return {name: place for name, place in self.tensors.items() if place.file not in apart}

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


def _read_shards(
    folder: CheckpointFolder, index: WeightIndex | None
) -> tuple[tuple[Shard, ...], dict[str, TensorPlace], list[str]]:
    """All shards, the places of all tensors, and what is said of tensors in two shards.

    transformers reads the shards in the order of their names, and the last one wins.
    """
    shards, shadowed = [], []
    tensors: dict[str, TensorPlace] = {}
    apart = set(folder.apart())
    for file in sorted([*folder.shards, *apart]):
        shard, places = read_shard(
            folder.directory / file, file, folder.stamps[file], apart=file in apart
        )
        shards.append(shard)
        for place in places:
            before = tensors.get(place.name)
            if before is not None:
                if index is None or index.weight_map.get(place.name) != file:
                    both = f"both {before.file} and {file} hold the tensor {place.name!r}"
                    raise CheckpointError(folder.directory, f"In {folder.directory}, {both}.")
                shadowed.append(f"{place.name} is that of {file}; {before.file} holds another")
            tensors[place.name] = place
    return tuple(shards), tensors, shadowed


def _adapter_notes(folder: CheckpointFolder) -> list[str]:
    """What is to be known if an adapter lies beside the weights of a whole model."""
    if ADAPTER_CONFIG not in folder.stamps:
        return []
    if not folder.adapters():
        return [
            f"{ADAPTER_CONFIG} is there without an adapter's weights: transformers with peft may "
            "look for them; remove it if the adapter is merged"
        ]
    return [
        f"{', '.join(folder.adapters())} lies beside whole weights: transformers with peft puts "
        "the adapter on top of them; remove it and its adapter_config.json if it is merged already"
    ]
