"""A cache of traces in files, so that a model that was traced once is not traced again.

There is one file for each setting: a model's configuration, on a version of an engine, as a rank of
so many.  A trace in it is used if it was made of the same tensors, for a model that lies in memory
in the same way; otherwise the model is traced, and the file is replaced.

    {"format": "pvc trace 1", "key": hex, "storages": [index in the model],
     "regions": [{"tensor": name, "place": [storage, offset, source offset,
                                            shape..., strides..., source strides...]}],
     "parameters": [{"name": name, "tensors": [name]}],
     "opaque": [{"name": name, "reason": text}], "errors": [the same],
     "overlapping": [name], "unmapped": [name], "moved": [name]}
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from pvc.errors import MalformedError
from pvc.live.protocol.region import Region
from pvc.live.vllm.tracing.model_tensors import named
from pvc.live.vllm.tracing.recorder import storage_key
from pvc.live.vllm.tracing.trace import Trace, live_storages, trace
from pvc.strict_json import Fields, JsonError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    import torch

    from pvc.live.vllm.tracing.trace import TensorDescription

FORMAT = "pvc trace 1"


class TraceError(MalformedError):
    """A stored trace is malformed."""


@dataclass(frozen=True, slots=True)
class LoaderSetting:
    """Whatever a loader depends on besides the checkpoint and the model in memory.

    Attributes:
        model: a hash of the model's configuration.
        engine: the engine and its version.
        tensor_rank: rank among those that share every layer.
        tensor_size: how many there are.
        pipeline_rank: rank among those that share the layers out.
        pipeline_size: how many there are.
    """

    model: str
    engine: str
    tensor_rank: int = 0
    tensor_size: int = 1
    pipeline_rank: int = 0
    pipeline_size: int = 1


class TraceCache:
    """Traces in a folder.

    Args:
        folder: the user's own; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def trace(
        self,
        model: torch.nn.Module,
        tensors: Mapping[str, TensorDescription],
        setting: LoaderSetting,
        *,
        load: Callable[[Iterable[tuple[str, torch.Tensor]]], object] | None = None,
    ) -> Trace:
        """What `trace` finds, from a file if it is known.

        A file that is malformed, or cannot be read or written, is the same as none.
        """
        path = self._folder / f"{_digest(asdict(setting))}.json"
        key = _key(model, tensors)
        with contextlib.suppress(OSError, TraceError):
            found = from_bytes(path.read_bytes(), str(path), key, model, tensors)
            if found is not None:
                return found
        made = trace(model, tensors, load=load)
        with contextlib.suppress(OSError):
            self._write(path, to_bytes(made, key, model))
        return made

    def _write(self, path: Path, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(f".{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)


def to_bytes(found: Trace, key: str, model: torch.nn.Module) -> bytes:
    """The JSON of a trace of a model; `key` says of which state of it."""
    number = {storage._cdata: index for index, storage in enumerate(live_storages(model)[0])}  # noqa: SLF001
    document = {
        "format": FORMAT,
        "key": key,
        "storages": [number[storage._cdata] for storage in found.storages],  # noqa: SLF001
        "regions": [
            {"tensor": name, "place": _place(region)}
            for name, regions in found.regions.items()
            for region in regions
        ],
        "parameters": [
            {"name": name, "tensors": sorted(tensors)} for name, tensors in found.parameters.items()
        ],
        "opaque": _reasons_json(found.opaque),
        "errors": _reasons_json(found.errors),
        "overlapping": sorted(found.overlapping),
        "unmapped": sorted(found.unmapped),
        "moved": sorted(found.moved),
    }
    return json.dumps(document).encode()


def from_bytes(
    data: bytes,
    where: str,
    key: str,
    model: torch.nn.Module,
    tensors: Mapping[str, TensorDescription],
) -> Trace | None:
    """Read the JSON strictly; None if it was made of something else than `key` says.

    Raises:
        TraceError: it is malformed, or a region lies outside its storage or its tensor.
    """
    try:
        fields = Fields(parse(data), where, TraceError)
    except JsonError as error:
        raise TraceError(where, f"it is not JSON ({error})") from None
    if fields.text("format") != FORMAT or fields.text("key") != key:
        return None
    every = live_storages(model)[0]
    chosen = fields.numbers("storages")
    if any(index >= len(every) for index in chosen):
        raise fields.wrong("it names a storage that the model does not have")
    found = Trace(
        storages=tuple(every[index] for index in chosen),
        regions=_regions(fields.parts("regions")),
        parameters=_parameters(fields.parts("parameters")),
        opaque=_reasons(fields.parts("opaque")),
        errors=_reasons(fields.parts("errors")),
        overlapping=frozenset(fields.texts("overlapping")),
        unmapped=frozenset(fields.texts("unmapped")),
        moved=frozenset(fields.texts("moved")),
    )
    fields.finish()
    for name, regions in found.regions.items():
        _check(name, regions, found.storages, tensors, fields)
    return found


def _check(
    name: str,
    regions: Iterable[Region],
    storages: tuple[torch.UntypedStorage, ...],
    tensors: Mapping[str, TensorDescription],
    fields: Fields,
) -> None:
    if name not in tensors:
        raise fields.wrong(f"it names {name[:80]!r}, which is no tensor of the checkpoint")
    tensor = tensors[name]
    item, nbytes = tensor.kind.bits // 8, tensor.kind.bytes_of(tensor.shape)
    for region in regions:
        if region.storage >= len(storages):
            raise fields.wrong(f"{name} lies in a storage that is not listed")
        if region.end(item) > storages[region.storage].nbytes():
            raise fields.wrong(f"{name} reaches beyond its storage")
        if region.source_end(item) > nbytes:
            raise fields.wrong(f"a region of {name} reaches beyond the tensor")


def _place(region: Region) -> list[int]:
    dims = (*region.shape, *region.stride, *region.source_stride)
    return [region.storage, region.offset, region.source_offset, *dims]


def _regions(parts: list[Fields]) -> dict[str, tuple[Region, ...]]:
    found: dict[str, list[Region]] = {}
    for part in parts:
        name, place = part.text("tensor"), part.numbers("place")
        part.finish()
        if len(place) < 3 or len(place) % 3:
            raise part.wrong(f"a place of {name} has {len(place)} numbers")
        storage, offset, source, *dims = place
        rank = len(dims) // 3
        shape, stride, steps = (tuple(dims[at : at + rank]) for at in (0, rank, 2 * rank))
        region = Region(storage, offset, shape, stride, source, steps)
        found.setdefault(name, []).append(region)
    return {name: tuple(regions) for name, regions in found.items()}


def _reasons_json(reasons: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "reason": reason} for name, reason in reasons.items()]


def _reasons(parts: list[Fields]) -> dict[str, str]:
    found = {part.text("name"): part.text("reason") for part in parts}
    for part in parts:
        part.finish()
    return found


def _parameters(parts: list[Fields]) -> dict[str, frozenset[str]]:
    found = {part.text("name"): frozenset(part.texts("tensors")) for part in parts}
    for part in parts:
        part.finish()
    return found


def _key(model: torch.nn.Module, tensors: Mapping[str, TensorDescription]) -> str:
    """A hash of what is loaded, and of how a model lies in memory."""
    storages, number = live_storages(model)
    checkpoint = [(name, one.kind.name, one.shape) for name, one in tensors.items()]
    layout = [
        (name, str(one.dtype), tuple(one.shape), one.stride(), one.storage_offset(),
         number[storage_key(one)])
        for name, one in named(model)
    ]  # fmt: skip
    return _digest([checkpoint, layout, [storage.nbytes() for storage in storages]])


def _digest(value: Any) -> str:
    return blake3(json.dumps(value).encode()).hexdigest()
