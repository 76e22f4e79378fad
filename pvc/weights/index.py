"""The index of a sharded checkpoint: which safetensors file holds which tensor.

    {"metadata": {...}, "weight_map": {tensor name: file name}}

Limits: shards lie in the directory of the index or below it; the metadata is not interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.strict_json import JsonError, parse
from pvc.weights.errors import CheckpointError
from pvc_store.layout import PathError, check_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pvc.weights.header import TensorPlace


class WeightIndexError(CheckpointError):
    """The index of a sharded checkpoint is wrong; `detail` says how."""

    def __init__(self, path: Path, detail: str) -> None:
        super().__init__(path, f"The index {path} is wrong: {detail}.")


@dataclass(frozen=True, slots=True)
class WeightIndex:
    """The index of a sharded checkpoint.

    Attributes:
        path: the index file, for errors.
        weight_map: tensor name -> file name.
    """

    path: Path
    weight_map: Mapping[str, str]

    @classmethod
    def from_bytes(cls, raw: bytes, path: Path) -> WeightIndex:
        """Read an index strictly.

        Raises:
            WeightIndexError: the bytes are not an index, it names no tensor, or a shard is not a
                safetensors file in its directory.
        """
        try:
            document = parse(raw)
        except JsonError as error:
            raise WeightIndexError(path, f"it is not JSON: {error}") from error
        weight_map = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise WeightIndexError(path, "it has no weight_map that names tensors")
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise WeightIndexError(path, "its weight_map does not map names to file names")
        for shard in set(weight_map.values()):
            if not _is_plain(shard):
                detail = f"{shard[:80]!r} is not the name of a safetensors file in its directory"
                raise WeightIndexError(path, detail)
        return cls(path, weight_map)

    def shards(self) -> set[str]:
        """The files that it names."""
        return set(self.weight_map.values())

    def check_shards(self, present: Collection[str]) -> None:
        """Check that every file it names is among those that are there.

        Raises:
            WeightIndexError: one is not.
        """
        for shard in sorted(self.shards()):
            if shard not in present:
                raise WeightIndexError(
                    self.path, f"the shard {shard!r} that it names does not exist"
                )

    def check_tensors(self, tensors: Mapping[str, TensorPlace]) -> None:
        """Check it against the tensors that its shards hold, in both directions.

        Raises:
            WeightIndexError: a tensor is not in the shard that the index names, or a shard holds
                one that the index does not name.
        """
        for name, shard in self.weight_map.items():
            if name not in tensors or tensors[name].file != shard:
                detail = f"tensor {name[:80]!r} is not in the shard {shard!r} as it says"
                raise WeightIndexError(self.path, detail)
        for name, place in tensors.items():
            if name not in self.weight_map:
                detail = f"it does not name tensor {name!r} of the shard {place.file!r}"
                raise WeightIndexError(self.path, detail)


def _is_plain(shard: str) -> bool:
    try:
        check_path(shard, "")
    except PathError:
        return False
    return shard.endswith(".safetensors")
