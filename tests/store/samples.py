"""Blocks, trees, layouts and files made by hand: small, and the same in every run."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import zstandard

from pvc_store.block import BLOCK_BYTES, BlockForm, Codec, EncodedBlock, PackEntry
from pvc_store.ids import NO_ID, block_key, check_value, object_id
from pvc_store.kinds import KIND_BY_NAME, Kind
from pvc_store.layout import Layout, OtherFile, WeightsFile
from pvc_store.pack import MAGIC as PACK_MAGIC
from pvc_store.tree import Tensor, Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BF16 = KIND_BY_NAME["BF16"]
F32 = KIND_BY_NAME["F32"]


def raw_bytes(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def raw_block(seed: int, length: int = 1000) -> EncodedBlock:
    raw = raw_bytes(seed, length)
    return EncodedBlock(BlockForm(block_key(raw), length, Codec.RAW, BF16), raw)


def planes_block(seed: int, length: int = 1000) -> EncodedBlock:
    key = block_key(raw_bytes(seed, length))
    return EncodedBlock(BlockForm(key, length, Codec.PLANES, BF16), raw_bytes(-seed, length // 2))


def delta_block(seed: int, base: EncodedBlock, part: int = 1) -> EncodedBlock:
    raw = raw_bytes(seed, 1000)
    form = BlockForm(block_key(raw), 1000, Codec.DELTA, F32, base.form.key, BF16, part)
    return EncodedBlock(form, raw[:300])


def block_keys(raw: bytes) -> bytes:
    return b"".join(
        block_key(raw[start : start + BLOCK_BYTES]) for start in range(0, len(raw), BLOCK_BYTES)
    )


def tensor(name: str, seed: int = 0, shape: tuple[int, ...] = (4,), kind: Kind = BF16) -> Tensor:
    raw = raw_bytes(seed, kind.bytes_of(shape))
    return Tensor(name, kind, shape, object_id(raw), block_keys(raw))


def tree(*names: str, seed: int = 0) -> Tree:
    return Tree(tensor(name, seed + at) for at, name in enumerate(names))


def other_file(path: str, content: bytes) -> OtherFile:
    return OtherFile(path, len(content), object_id(content), block_keys(content))


def layout(text: str = "{}") -> Layout:
    files: list[WeightsFile | OtherFile] = [
        WeightsFile("model.safetensors", b'{"a":{"dtype":"BF16"}}'),
        other_file("config.json", text.encode()),
        other_file("empty.txt", b""),
    ]
    return Layout(files)


def no_file(_: bytes) -> bytes:
    raise AssertionError("a whole tree needs no base")


def files_of(*trees: Tree) -> Callable[[bytes], bytes]:
    """Gives the whole file of a tree by its id, as a store would."""
    return {each.id: each.to_bytes() for each in trees}.__getitem__


def reading(data: bytes) -> Callable[[memoryview, int], int]:
    """Reads from bytes as `read_payload` and others want to read from a file."""

    def read(buffer: memoryview, offset: int) -> int:
        part = data[offset : offset + len(buffer)]
        buffer[: len(part)] = part
        return len(part)

    return read


# Files that no writer of ours makes


def frame(magic: bytes, head: bytes, content: bytes, length: int | None = None) -> bytes:
    """A framed file with a right check value, whatever it holds."""
    claimed = len(content) if length is None else length
    compressed = zstandard.ZstdCompressor().compress(content)
    return seal(magic + head + claimed.to_bytes(8, "little") + compressed)


def seal(body: bytes) -> bytes:
    return body + check_value(body).to_bytes(8, "little")


def tree_file(content: bytes, head: bytes = NO_ID) -> bytes:
    return frame(b"PVCTREE1", head, content)


def layout_file(content: bytes) -> bytes:
    return frame(b"PVCLAYT1", b"", content)


def pack_file(
    payloads: bytes,
    entries: Iterable[PackEntry | bytes],
    end: bytes = b"",
    claim: int | None = None,
) -> bytes:
    """A pack with a right check value, whatever its entries are."""
    content = b"".join(entry if isinstance(entry, bytes) else entry.to_bytes() for entry in entries)
    footer = zstandard.ZstdCompressor().compress(content) + end
    length = len(footer) if claim is None else claim
    trailer = length.to_bytes(8, "little") + check_value(footer).to_bytes(8, "little")
    return PACK_MAGIC + payloads + footer + trailer + PACK_MAGIC


def entry(block: EncodedBlock, offset: int = len(PACK_MAGIC)) -> PackEntry:
    payload = memoryview(block.payload)
    return PackEntry(block.form, offset, payload.nbytes, check_value(payload))
