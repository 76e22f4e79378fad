"""Tiny checkpoints, byte for byte: models, fine-tunes of them, and how they are saved."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.repo.personality.vector import CapturedVector
from tests.support.shards import entry, shard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pvc.repo.history.revision import Revision
    from pvc.repo.personality.formula import Built
    from pvc.repo.snapshot import Snapshot

    Floats = NDArray[np.float64]

INDEX = "model.safetensors.index.json"
FILES = {
    "config.json": b'{"model_type": "tiny"}\n',
    "tokenizer.json": b'{"version": "1.0"}\n' * 50,
    "templates/chat.jinja": b"{{ messages }}\n",
    "empty.txt": b"",
}
SHAPES = {
    "model.embed_tokens.weight": (700, 1024),  # 1.4 MiB of 16-bit numbers: two blocks
    "model.layers.0.self_attn.q_proj.weight": (96, 64),
    "model.layers.0.mlp.down_proj.weight": (64, 96),
    "model.layers.1.self_attn.q_proj.weight": (96, 64),
    "model.layers.1.mlp.down_proj.weight": (64, 96),
    "model.norm.weight": (64,),
}


@dataclass(frozen=True, slots=True)
class Raw:
    """One tensor: its dtype as safetensors calls it, its shape, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Model = dict[str, Raw]


def model(
    seed: int = 0, dtype: str = "BF16", shapes: Mapping[str, tuple[int, ...]] = SHAPES
) -> Model:
    """A model of random numbers, the same for the same arguments."""
    random = np.random.default_rng(seed)
    return {
        name: tensor(random.normal(0, 0.05, shape), dtype) for name, shape in sorted(shapes.items())
    }


def tuned(before: Model, seed: int, step: float = 1e-3, names: Sequence[str] = ()) -> Model:
    """`before` after training: other numbers in all of its tensors, or in those named."""
    random = np.random.default_rng(seed)
    after = dict(before)
    for name in names or before:
        old = before[name]
        after[name] = tensor(numbers(old) + random.normal(0, step, old.shape), old.dtype)
    return after


def widened(before: Model, dtype: str = "F32") -> Model:
    """The same numbers in another dtype."""
    return {name: tensor(numbers(raw), dtype) for name, raw in before.items()}


def tensor(values: NDArray[Any], dtype: str) -> Raw:
    """Numbers rounded to a dtype."""
    shape = tuple(np.shape(values))
    if dtype == "BF16":
        bits = np.asarray(values, "<f4").view("<u4")
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return Raw(dtype, shape, rounded.astype("<u2").tobytes())
    return Raw(dtype, shape, np.asarray(values, _NUMPY[dtype]).tobytes())


def numbers(raw: Raw) -> Floats:
    """What a tensor's bytes stand for, as float64."""
    if raw.dtype == "F8_E4M3":  # without NaN and signs
        bits = np.frombuffer(raw.data, np.uint8).astype(np.int64)
        exponent, fraction = bits >> 3, bits & 7
        scale = np.exp2(np.maximum(exponent, 1) - 7.0)
        values: Floats = (((exponent > 0) + fraction / 8) * scale).reshape(raw.shape)
        return values
    if raw.dtype == "BF16":
        bits = np.frombuffer(raw.data, "<u2").astype("<u4") << 16
        return bits.view("<f4").astype(np.float64).reshape(raw.shape)
    return np.frombuffer(raw.data, _NUMPY[raw.dtype]).astype(np.float64).reshape(raw.shape)


_NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I64": "<i8", "U8": "|u1"}


def save(
    directory: Path,
    what: Model,
    *,
    shards: int = 1,
    order: Sequence[str] = (),
    files: Mapping[str, bytes] = FILES,
    padding: int = 0,
) -> Path:
    """Write a model's folder, in place of the files that are there; returns the folder.

    Args:
        directory: the folder.
        what: the tensors.
        shards: number of safetensors files; more than one get an index.
        order: names in the order of their bytes; without it, as in `what`.
        files: the other files.
        padding: spaces behind each header.
    """
    names = list(order or what)
    parts = [names[at::shards] for at in range(shards)]
    if shards == 1:
        weights = {"model.safetensors": parts[0]}
    else:
        weights = {f"model-{n}-of-{shards}.safetensors": part for n, part in enumerate(parts, 1)}
    content = {file: safetensors(what, part, padding) for file, part in weights.items()}
    if shards > 1:
        total = sum(len(raw.data) for raw in what.values())
        weight_map = {name: file for file, part in weights.items() for name in part}
        document = {"metadata": {"total_size": total}, "weight_map": weight_map}
        content[INDEX] = json.dumps(document, indent=2).encode()
    for path, data in {**files, **content}.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(data)
    return directory


def safetensors(what: Model, names: Sequence[str], padding: int = 0) -> bytes:
    """One safetensors file, its tensors in the order of `names`."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        raw = what[name]
        begin, end = end, end + len(raw.data)
        header[name] = entry(raw.dtype, list(raw.shape), begin, end)
    data = b"".join(what[name].data for name in names)
    return shard(json.dumps(header).encode() + b" " * padding, data)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path; empty folders count as files of none."""
    found = sorted(directory.rglob("*"))
    files = {path: path.read_bytes() for path in found if not path.is_dir()}
    files |= {path: b"" for path in found if path.is_dir() and not any(path.iterdir())}
    return {path.relative_to(directory).as_posix(): data for path, data in files.items()}


def captured(state: Snapshot, name: str) -> CapturedVector:
    """A captured vector of a commit."""
    found = state.vector(name)
    if not isinstance(found, CapturedVector):
        raise TypeError(f"{name} is derived")
    return found


def built(what: Snapshot | Revision) -> Built:
    """Tree and layout of what needs no arithmetic."""
    found = what.formula.exact
    if found is None:
        raise TypeError("it needs arithmetic")
    return found


def elements(what: Model) -> int:
    """Number of elements of all tensors."""
    return sum(prod(raw.shape) for raw in what.values())
