"""The index of a sharded checkpoint: which safetensors file holds which tensor.

    {"metadata": {...}, "weight_map": {tensor name: file name}}

Limits: shards lie in the directory of the index; the metadata is not interpreted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.strict_json import JsonError, parse
from pvc.weights.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from pvc.weights.header import TensorPlace


class WeightIndexError(CheckpointError):
    """The index of a sharded checkpoint is wrong.

    Attributes:
        path: the index file.
        detail: what was found and what was expected.
    """

    def __init__(self, path: Path, detail: str) -> None:
        self.path = path
        self.detail = detail
        super().__init__(f"The index {path} is wrong: {detail}.")


class IndexFormError(WeightIndexError):
    """The index is not JSON, or has no usable weight_map."""


class ShardNameError(WeightIndexError):
    """The index names a shard that is not a safetensors file of the same directory.

    Attributes:
        shard: the name.
    """

    def __init__(self, path: Path, shard: str) -> None:
        self.shard = shard
        super().__init__(
            path, f"{shard[:80]!r} is not the name of a safetensors file in the same directory"
        )


class MissingShardError(WeightIndexError):
    """The index names a shard that does not exist.

    Attributes:
        shard: the missing file.
    """

    def __init__(self, path: Path, shard: str) -> None:
        self.shard = shard
        super().__init__(path, f"the shard {shard!r} that it names does not exist")


class MissingTensorError(WeightIndexError):
    """The index names a tensor that its shard does not hold.

    Attributes:
        name: the tensor.
        shard: the file that should hold it.
    """

    def __init__(self, path: Path, name: str, shard: str) -> None:
        self.name = name
        self.shard = shard
        super().__init__(path, f"tensor {name[:80]!r} is not in the shard {shard!r} as it says")


class UnindexedTensorError(WeightIndexError):
    """A shard holds a tensor that the index does not name.

    Attributes:
        name: the tensor.
        shard: the file that holds it.
    """

    def __init__(self, path: Path, name: str, shard: str) -> None:
        self.name = name
        self.shard = shard
        super().__init__(path, f"it does not name tensor {name!r} of the shard {shard!r}")


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
            IndexFormError: the bytes are not an index, or it names no tensor.
            ShardNameError: a shard is not a safetensors file in the directory of the index.
        """
        try:
            document = parse(raw)
        except JsonError as error:
            raise IndexFormError(path, f"it is not JSON: {error}") from error
        weight_map = document.get("weight_map") if isinstance(document, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise IndexFormError(path, "it has no weight_map that names tensors")
        if not all(isinstance(shard, str) for shard in weight_map.values()):
            raise IndexFormError(path, "its weight_map does not map names to file names")
        for shard in set(weight_map.values()):
            if "/" in shard or not shard.endswith(".safetensors"):
                raise ShardNameError(path, shard)
        return cls(path, weight_map)

    def shards(self) -> set[str]:
        """The files that it names."""
        return set(self.weight_map.values())

    def check_shards(self, present: Collection[str]) -> None:
        """Check that every file it names is among those that are there.

        Raises:
            MissingShardError: one is not.
        """
        for shard in sorted(self.shards()):
            if shard not in present:
                raise MissingShardError(self.path, shard)

    def check_tensors(self, tensors: Mapping[str, TensorPlace]) -> None:
        """Check it against the tensors that its shards hold, in both directions.

        Raises:
            MissingTensorError: a tensor is not in the shard that the index names.
            UnindexedTensorError: a shard holds a tensor that the index does not name.
        """
        for name, shard in self.weight_map.items():
            if name not in tensors or tensors[name].file != shard:
                raise MissingTensorError(self.path, name, shard)
        for name, place in tensors.items():
            if name not in self.weight_map:
                raise UnindexedTensorError(self.path, name, place.file)
