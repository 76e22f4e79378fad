"""Packs: immutable files of encoded blocks, named by the BLAKE3 of all their bytes.

    pack   = "PVCPACK1" | payload* | footer | footer_length u64 | check u64 | "PVCPACK1"
    footer = zstd frame of the entries, 64 bytes each (see `block`), sorted by key
    check  = xxh3-64 of the footer as it is stored                      (little-endian)

Limits: MAX_PACK_BYTES of file; a footer of at most MAX_ENTRIES entries.
"""

from __future__ import annotations

import itertools
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard
from blake3 import blake3

from pvc_store.atomic import write_all
from pvc_store.block import ENTRY_BYTES, EncodedBlock, Entry
from pvc_store.errors import DamageError, FormatError
from pvc_store.frame import (
    CheckError,
    MagicError,
    OversizeError,
    TruncatedError,
    decompress,
)
from pvc_store.ids import check_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

MAGIC = b"PVCPACK1"
MAX_PACK_BYTES = 256 << 20
MAX_ENTRIES = 1 << 22

_TRAILER = struct.Struct("<QQ8s")
_HASH_CHUNK = 4 << 20


class FooterError(FormatError):
    """The entries of a pack contradict each other or the file."""


class PackNameError(FormatError):
    """A pack is not the file that it is named after."""


class PayloadError(DamageError):
    """A payload does not have the check value of its entry."""


@dataclass(frozen=True, slots=True)
class FinishedPack:
    """A complete pack which is durable under a temporary name.

    Attributes:
        id: BLAKE3 of the file.
        path: where it lies.
        entries: what it holds, sorted by key.
    """

    id: bytes
    path: Path
    entries: tuple[Entry, ...]


class PackWriter:
    """Writes one pack; not for several threads at once.

    Args:
        path: a file that does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444)
        self.entries: list[Entry] = []
        write_all(self.fd, MAGIC, 0)
        self._end = len(MAGIC)

    def has_room(self, payload_length: int) -> bool:
        """Whether a payload still fits, footer and trailer counted in."""
        footer = (len(self.entries) + 1) * (ENTRY_BYTES + 1) + 1024
        return self._end + payload_length + footer + _TRAILER.size <= MAX_PACK_BYTES

    def append(self, block: EncodedBlock) -> Entry:
        """Write the payload of `block`, and return the entry that finds it."""
        length = len(memoryview(block.payload))
        entry = Entry(block.form, self._end, length, check_value(block.payload))
        write_all(self.fd, block.payload, self._end)
        self._end += length
        self.entries.append(entry)
        return entry

    def finish(self) -> FinishedPack:
        """Write footer and trailer, make the bytes durable, and compute the name."""
        entries = tuple(sorted(self.entries, key=lambda entry: entry.form.key))
        content = b"".join(entry.to_bytes() for entry in entries)
        footer = zstandard.ZstdCompressor(level=3).compress(content)
        trailer = _TRAILER.pack(len(footer), check_value(footer), MAGIC)
        write_all(self.fd, footer + trailer, self._end)
        os.fsync(self.fd)
        return FinishedPack(file_digest(self.fd), self.path, entries)

    def close(self) -> None:
        """Close the file; what is not finished stays a leftover."""
        os.close(self.fd)


def file_digest(fd: int, advance: Callable[[int], None] = lambda _: None) -> bytes:
    """BLAKE3 of a whole open file; `advance` is told of the bytes read."""
    hasher = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(_HASH_CHUNK))
    offset = 0
    while count := os.preadv(fd, [buffer], offset):
        hasher.update(buffer[:count])
        offset += count
        advance(count)
    return hasher.digest()


def read_footer(fd: int, where: str) -> tuple[Entry, ...]:
    """The entries of an open pack, read strictly.

    Raises:
        FormatError: one of its subclasses, for each way to be malformed.
    """
    size = os.fstat(fd).st_size
    if size > MAX_PACK_BYTES:
        raise OversizeError(where, f"it has {size} bytes, more than a pack may have")
    if size < len(MAGIC) + _TRAILER.size:
        raise TruncatedError(where, f"{size} bytes are too few for a pack")
    footer_length, check, end = _TRAILER.unpack(os.pread(fd, _TRAILER.size, size - _TRAILER.size))
    start = os.pread(fd, len(MAGIC), 0)
    if MAGIC not in (start, end) or start != end:
        raise MagicError(where, f"it begins with {start!r} and ends with {end!r}")
    payload_end = size - _TRAILER.size - footer_length
    if payload_end < len(MAGIC):
        raise OversizeError(where, f"its footer claims {footer_length} bytes of {size}")
    footer = os.pread(fd, footer_length, payload_end)
    if check_value(footer) != check:
        raise CheckError(where, "its footer does not have its check value")
    return _read_entries(footer, payload_end, where)


def _read_entries(footer: bytes, payload_end: int, where: str) -> tuple[Entry, ...]:
    try:
        claimed = zstandard.frame_content_size(footer)
    except zstandard.ZstdError:
        claimed = -1
    if not 0 <= claimed <= MAX_ENTRIES * ENTRY_BYTES or claimed % ENTRY_BYTES:
        raise FooterError(where, f"its footer claims {claimed} bytes of entries")
    content = memoryview(decompress(footer, claimed, where))
    entries = tuple(
        Entry.from_bytes(content[at : at + ENTRY_BYTES], where)
        for at in range(0, claimed, ENTRY_BYTES)
    )
    _check_order(entries, where)
    for entry in entries:
        if entry.offset < len(MAGIC) or entry.offset + entry.length > payload_end:
            raise FooterError(where, f"block {entry.form.key.hex()} lies outside its payloads")
    return entries


def _check_order(entries: Sequence[Entry], where: str) -> None:
    for before, after in itertools.pairwise(entries):
        if before.form.key >= after.form.key:
            raise FooterError(where, f"block {after.form.key.hex()} is out of order")


def read_payload(fd: int, entry: Entry, scratch: memoryview, where: str) -> memoryview:
    """The payload of an entry, in the caller's scratch of BLOCK_BYTES, checked.

    Raises:
        PayloadError: it is cut short or does not have its check value.
    """
    view = scratch[: entry.length]
    done = 0
    while done < entry.length:
        count = os.preadv(fd, [view[done:]], entry.offset + done)
        if not count:
            raise PayloadError(where, f"block {entry.form.key.hex()} is cut short")
        done += count
    if check_value(view) != entry.check:
        raise PayloadError(where, f"block {entry.form.key.hex()} does not have its check value")
    return view
