"""Packs: immutable files of encoded blocks, named by the BLAKE3 of all their bytes.

    pack   = "PVCPACK1" | payload* | footer | footer_length u64 | check u64 | "PVCPACK1"
    footer = zstd frame of the entries, 64 bytes each (see `block`), sorted by key
    check  = xxh3-64 of the footer as it is stored                      (little-endian)

Each byte between magic and footer belongs to exactly one payload.

Limits: MAX_PACK_BYTES of file; 1 to MAX_ENTRIES entries.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import zstandard
from blake3 import blake3

from pvc_store.atomic import READ_ONLY, naming, read_all, sync, write_all
from pvc_store.block import ENTRY_BYTES, EncodedBlock, PackEntry, check_form
from pvc_store.errors import DamageError, FormatError
from pvc_store.frame import (
    CheckError,
    MagicError,
    OversizeError,
    TruncatedFrameError,
    check_magic,
    decompress,
)
from pvc_store.ids import check_value

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MAGIC = b"PVCPACK1"
MAX_PACK_BYTES = 256 << 20
MAX_ENTRIES = 1 << 18

# Fills a buffer with the bytes of a file from an offset on; returns how many those are, fewer than
# asked for only where the file ends.
ReadInto: TypeAlias = Callable[[memoryview, int], int]

_LEVEL = 3
_TRAILER = struct.Struct("<QQ8s")
_HASH_CHUNK = 4 << 20


class FooterError(FormatError):
    """The entries of a pack contradict each other or the file."""


class PackNameError(FormatError):
    """A pack is not the file that it is named after."""


class PackPayloadError(DamageError):
    """A payload does not have the check value of its entry."""


class PackWriter:
    """Writes one pack; not for several threads at once.

    Args:
        path: a file that does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[PackEntry] = []
        self._end = len(MAGIC)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, READ_ONLY)

    def has_room(self, payload_length: int) -> bool:
        """Whether a payload still fits, footer and trailer counted in."""
        count = len(self.entries) + 1
        footer = count * (ENTRY_BYTES + 1) + 1024
        size = self._end + payload_length + footer + _TRAILER.size
        return count <= MAX_ENTRIES and size <= MAX_PACK_BYTES

    def append(self, block: EncodedBlock) -> PackEntry:
        """Write the payload of `block`, and return the entry that finds it.

        Raises:
            EntryError: the block contradicts itself.
        """
        length = memoryview(block.payload).nbytes
        check_form(block.form, length, f"Block {block.form.key.hex()}")
        entry = PackEntry(block.form, self._end, length, check_value(block.payload))
        write_all(self._fd, block.payload, self._end)
        self._end += length
        self.entries.append(entry)
        return entry

    def finish(self) -> bytes:
        """Complete the file, make its bytes durable, close it, and return the pack id."""
        entries = sorted(self.entries, key=lambda entry: entry.form.key)
        content = b"".join(entry.to_bytes() for entry in entries)
        footer = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
        trailer = _TRAILER.pack(len(footer), check_value(footer), MAGIC)
        write_all(self._fd, MAGIC, 0)
        write_all(self._fd, footer + trailer, self._end)
        with naming(self._fd):  # a failed append's rest goes
            os.ftruncate(self._fd, self._end + len(footer) + len(trailer))
        sync(self._fd)
        pack_id = file_digest(partial(read_all, self._fd))
        self.close()
        return pack_id

    def close(self) -> None:
        """Close the file; if it is not finished, it is left as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def file_digest(read: ReadInto, advance: Callable[[int], None] = lambda _: None) -> bytes:
    """BLAKE3 of a whole file; `advance` is called with the number of bytes of each read."""
    hasher = blake3(max_threads=blake3.AUTO)
    buffer = memoryview(bytearray(_HASH_CHUNK))
    offset = 0
    while count := read(buffer, offset):
        hasher.update(buffer[:count])
        offset += count
        advance(count)
    return hasher.digest()


def read_footer(read: ReadInto, size: int, where: str) -> tuple[PackEntry, ...]:
    """The entries of a pack of `size` bytes, sorted by key, read strictly.

    Raises:
        FormatError: one of its subclasses, for each way to be malformed.
    """
    if size > MAX_PACK_BYTES:
        raise OversizeError(where, f"it has {size} bytes, more than a pack may have")
    check_magic(_read(read, len(MAGIC), 0, where), MAGIC, where)
    trailer_start = size - _TRAILER.size
    if trailer_start < len(MAGIC):
        raise TruncatedFrameError(where, f"{size} bytes are too few for a pack")
    footer_length, check, end = _TRAILER.unpack(_read(read, _TRAILER.size, trailer_start, where))
    if end != MAGIC:
        raise MagicError(where, f"it ends with {end!r}, not {MAGIC!r}")
    payload_end = trailer_start - footer_length
    if payload_end < len(MAGIC):
        raise OversizeError(where, f"its footer claims {footer_length} bytes of {size}")
    footer = _read(read, footer_length, payload_end, where)
    if check_value(footer) != check:
        raise CheckError(where, "its footer does not have its check value")
    return _read_entries(footer, payload_end, where)


def _read(read: ReadInto, length: int, offset: int, where: str) -> bytes:
    data = bytearray(length)
    if read(memoryview(data), offset) != length:
        raise TruncatedFrameError(where, f"it ends before byte {offset + length}")
    return bytes(data)


def _read_entries(footer: bytes, payload_end: int, where: str) -> tuple[PackEntry, ...]:
    try:
        claimed = zstandard.frame_content_size(footer)
    except zstandard.ZstdError:
        claimed = -1
    # No payload is empty: so the file's own size bounds what its footer may expand to.
    most = ENTRY_BYTES * min(MAX_ENTRIES, payload_end - len(MAGIC))
    if not 0 < claimed <= most or claimed % ENTRY_BYTES:
        raise FooterError(where, f"its footer claims {claimed} bytes of entries")
    content = memoryview(decompress(footer, claimed, where))
    entries = tuple(
        PackEntry.from_bytes(content[at : at + ENTRY_BYTES], where)
        for at in range(0, claimed, ENTRY_BYTES)
    )
    _check_order(entries, where)
    _check_payloads(entries, payload_end, where)
    return entries


def _check_order(entries: Sequence[PackEntry], where: str) -> None:
    for before, after in itertools.pairwise(entries):
        if before.form.key >= after.form.key:
            raise FooterError(where, f"block {after.form.key.hex()} is out of order")


def _check_payloads(entries: Sequence[PackEntry], payload_end: int, where: str) -> None:
    end = len(MAGIC)
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset != end:
            raise FooterError(where, f"block {entry.form.key.hex()} does not begin at byte {end}")
        end += entry.length
    if end != payload_end:
        raise FooterError(where, f"its payloads end at byte {end}, its footer begins elsewhere")


def read_payload(read: ReadInto, entry: PackEntry, scratch: memoryview, where: str) -> memoryview:
    """The payload of an entry, in the caller's scratch of BLOCK_BYTES, checked.

    Raises:
        PackPayloadError: it is cut short or does not have its check value.
    """
    view = scratch[: entry.length]
    if read(view, entry.offset) != entry.length:
        raise PackPayloadError(where, f"block {entry.form.key.hex()} is cut short")
    if check_value(view) != entry.check:
        raise PackPayloadError(where, f"block {entry.form.key.hex()} does not have its check value")
    return view
