"""A checkpoint whose tensors go by other names than in its files, or lie in one of them only.

The bytes of the tensors are read from where they are.  Headers and index are those that files of
the new names would have, so that a layout of it gives files which load as the checkpoint does.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from pvc.weights.header import LENGTH_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pvc.weights.checkpoint import Checkpoint
    from pvc.weights.header import TensorPlace
    from pvc.weights.shard import Shard

_INDEX = ".safetensors.index.json"
_ALIGNMENT = 8


def refit(checkpoint: Checkpoint, names: Mapping[str, str]) -> Checkpoint:
    """The checkpoint with other names of tensors; files that stand apart stay as they are.

    Args:
        checkpoint: as it was opened.
        names: new name -> name in the checkpoint; what is not named is left away.
    """
    by_file: defaultdict[str, list[TensorPlace]] = defaultdict(list)
    for new, old in names.items():
        place = checkpoint.tensors[old]
        by_file[place.file].append(replace(place, name=new))
    shards: list[Shard] = []
    files: dict[str, str] = {}
    for shard in checkpoint.shards:
        places = sorted(by_file[shard.path], key=lambda place: (place.offset, place.name))
        files.update((place.name, shard.path) for place in places)
        if shard.apart:
            shards.append(shard)
        elif places:
            shards.append(_shard(shard, places))
    tensors = {place.name: place for places in by_file.values() for place in places}
    return replace(
        checkpoint,
        tensors=MappingProxyType(dict(sorted(tensors.items()))),
        shards=tuple(shards),
        is_refit=True,
        rewritten={
            path: _index(files, shards)
            for path in checkpoint.files
            if path.endswith(_INDEX) and "/" not in path
        },
    )


def _shard(shard: Shard, places: Sequence[TensorPlace]) -> Shard:
    document: dict[str, object] = {}
    metadata = json.loads(shard.header).get("__metadata__")
    if metadata is not None:
        document["__metadata__"] = metadata
    end = 0
    for place in places:
        document[place.name] = {
            "dtype": place.kind.name,
            "shape": list(place.shape),
            "data_offsets": [end, end + place.nbytes],
        }
        end += place.nbytes
    header = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % _ALIGNMENT)
    size = LENGTH_BYTES + len(header) + end
    return replace(shard, header=header, size=size, names=tuple(place.name for place in places))


def _index(files: Mapping[str, str], shards: Sequence[Shard]) -> bytes:
    apart = {shard.path for shard in shards if shard.apart}
    own = {name: path for name, path in sorted(files.items()) if path not in apart}
    total = sum(
        shard.size - LENGTH_BYTES - len(shard.header) for shard in shards if not shard.apart
    )
    document = {"metadata": {"total_size": total}, "weight_map": own}
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
