"""What hypothesis makes checkpoints of: any dtype, any bytes, any manner of being saved."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from pvc.weights.compare import is_wider
from pvc_store.kinds import KIND_BY_NAME
from tests.support.models import INDEX, Model, Raw
from tests.support.shards import entry, shard

if TYPE_CHECKING:
    from pathlib import Path

NAMES = st.text("abz.0_éß✓ ", min_size=1, max_size=10).filter(str.strip)
WIDER = {
    name: [other.name for other in KIND_BY_NAME.values() if is_wider(other, kind)]
    for name, kind in KIND_BY_NAME.items()
}
# NaN with a payload, NaN with a sign, -0.0, Inf, the smallest subnormal: in every width
SPECIAL = {
    1: [b"\x7f", b"\xff", b"\x80", b"\x7c", b"\x01"],
    2: [struct.pack("<H", bits) for bits in (0x7FA5, 0xFFC1, 0x8000, 0x7F80, 0x7C00, 0x7C01, 1)],
    4: [struct.pack("<I", bits) for bits in (0x7FA12345, 0xFFC00001, 1 << 31, 0x7F800000, 1)],
    8: [struct.pack("<Q", bits) for bits in (0x7FF4 << 48 | 77, 0xFFF8 << 48, 1 << 63, 1)],
}
PATHS = st.sampled_from(
    ["config.json", "tokenizer.json", "a b.txt", "é/ü.model", "deep/er/x", "deep/y", "[z]*?.md"]
)
FILES = st.dictionaries(PATHS, st.sampled_from([b"", b"{}", b"text\n" * 400]), max_size=4)


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint: its tensors, and the files that it is."""

    tensors: Model
    files: dict[str, bytes]

    def write(self, directory: Path) -> Path:
        for path, data in self.files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        return directory


@st.composite
def contents_of(draw: st.DrawFn, dtype: str, shape: tuple[int, ...]) -> Raw:
    kind = KIND_BY_NAME[dtype]
    size = kind.bytes_of(shape)
    data = draw(st.binary(min_size=size, max_size=size))
    for at in range(0, size // 8 * 8 if draw(st.booleans()) else 0, 8):
        special = draw(st.sampled_from(SPECIAL.get(kind.bits // 8, SPECIAL[1])))
        data = data[:at] + special + data[at + len(special) :]
    return Raw(dtype, shape, data)


@st.composite
def tensors(draw: st.DrawFn) -> Model:
    made: Model = {}
    for name in draw(st.lists(NAMES, unique=True, min_size=1, max_size=6)):
        if made and draw(st.integers(0, 4)) == 0:
            made[name] = draw(st.sampled_from(list(made.values())))  # a tied duplicate
            continue
        dtype = draw(st.sampled_from(sorted(KIND_BY_NAME)))
        shape = draw(st.lists(st.integers(0, 5), max_size=3))
        if KIND_BY_NAME[dtype].bits < 8:
            shape.append(4)
        made[name] = draw(contents_of(dtype, tuple(shape)))
    return made


@st.composite
def retrained(draw: st.DrawFn, before: Model) -> Model:
    """The same tensors with other bytes, some of them, and some in a wider dtype."""
    after = dict(before)
    for name, raw in before.items():
        choice = draw(st.integers(0, 3))
        if choice == 0:
            after[name] = draw(contents_of(raw.dtype, raw.shape))
        elif choice == 1 and WIDER[raw.dtype]:
            after[name] = draw(contents_of(draw(st.sampled_from(WIDER[raw.dtype])), raw.shape))
        elif choice == 2 and raw.data:
            at = draw(st.integers(0, len(raw.data) - 1))
            changed = bytearray(raw.data)
            changed[at] ^= 1 << draw(st.integers(0, 7))
            after[name] = replace(raw, data=bytes(changed))
    return after


@st.composite
def saved(draw: st.DrawFn, what: Model) -> Saved:
    """A model as files: one or several shards, tensors and header in any order, padding, notes."""
    count = draw(st.integers(1, min(3, len(what))))
    names = draw(st.permutations(list(what)))
    parts = [names[at::count] for at in range(count)]
    paths = [f"model-{number}.safetensors" for number in range(count)]
    if count == 1:
        paths = [draw(st.sampled_from(["model.safetensors", "odd name.safetensors"]))]
    files = dict(draw(FILES))
    for path, part in zip(paths, parts, strict=True):
        files[path] = draw(_shard({name: what[name] for name in part}))
    if count > 1:
        weight_map = {name: path for path, part in zip(paths, parts, strict=True) for name in part}
        files[INDEX] = json.dumps({"weight_map": weight_map}).encode()
    return Saved(what, files)


@st.composite
def _shard(draw: st.DrawFn, part: Model) -> bytes:
    header: dict[str, object] = {}
    data = b""
    for name, raw in part.items():
        header[name] = entry(raw.dtype, list(raw.shape), len(data), len(data) + len(raw.data))
        data += raw.data
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(NAMES, st.text(max_size=5), max_size=2))
    order = draw(st.permutations(list(header)))
    text = json.dumps({name: header[name] for name in order}, ensure_ascii=draw(st.booleans()))
    return shard(text.encode() + b" " * draw(st.integers(0, 9)), data)


@st.composite
def histories(draw: st.DrawFn) -> list[Saved]:
    """A base and two results, each trained from the one before."""
    base = draw(tensors())
    first = draw(retrained(base))
    second = draw(retrained(base).filter(lambda made: made != first))
    return [draw(saved(each)) for each in (base, first, second)]
