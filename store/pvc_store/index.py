"""The index: which pack holds a block.  A cache, rebuilt from the packs whenever it does not fit.

    file   = "PVCINDX1" | pack_count u32 | entry_count u64 | pack id 32 * | record *
           | xxh3-64 of all before u64                                  (little-endian)
    record = entry 64 (see `block`) | number of the pack u32            sorted by key

Limits: 2^32 packs.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import TYPE_CHECKING

from pvc_store.block import ENTRY_BYTES, Entry
from pvc_store.errors import FormatError
from pvc_store.ids import ID_BYTES, KEY_BYTES, check_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAGIC = b"PVCINDX1"

_HEAD = struct.Struct("<8sIQ")
_PACK = struct.Struct("<I")
_CHECK = struct.Struct("<Q")
_RECORD_BYTES = ENTRY_BYTES + _PACK.size


class IndexFormatError(FormatError):
    """The index file cannot be used; it is to be rebuilt."""


class BlockIndex:
    """An immutable, sorted table: block key -> (pack id, entry)."""

    def __init__(self, packs: tuple[bytes, ...], records: bytes) -> None:
        self.packs = packs
        self._records = memoryview(records)

    def __len__(self) -> int:
        return len(self._records) // _RECORD_BYTES

    def __iter__(self) -> Iterator[tuple[bytes, Entry]]:
        return map(self._record, range(len(self)))

    def find(self, key: bytes) -> tuple[bytes, Entry] | None:
        """The pack and the entry of a block, or None."""
        at = bisect_left(range(len(self)), key, key=self._key)
        return self._record(at) if at < len(self) and self._key(at) == key else None

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self.find(key) is not None

    def _key(self, at: int) -> bytes:
        start = at * _RECORD_BYTES
        return self._records[start : start + KEY_BYTES].tobytes()

    def _record(self, at: int) -> tuple[bytes, Entry]:
        start = at * _RECORD_BYTES
        (number,) = _PACK.unpack_from(self._records, start + ENTRY_BYTES)
        entry = Entry.from_bytes(self._records[start : start + ENTRY_BYTES], "The index")
        return self.packs[number], entry

    @classmethod
    def of(cls, packs: Mapping[bytes, tuple[Entry, ...]]) -> BlockIndex:
        """The index of some packs; a block that lies in several is found in the first by name."""
        names = tuple(sorted(packs))
        records: dict[bytes, bytes] = {}
        for number, name in enumerate(names):
            for entry in packs[name]:
                records.setdefault(entry.form.key, entry.to_bytes() + _PACK.pack(number))
        return cls(names, b"".join(records[key] for key in sorted(records)))

    def to_bytes(self) -> bytes:
        """The file form."""
        head = _HEAD.pack(MAGIC, len(self.packs), len(self))
        body = b"".join((head, *self.packs, self._records))
        return body + _CHECK.pack(check_value(body))

    @classmethod
    def from_bytes(cls, data: bytes) -> BlockIndex:
        """Read the file form.

        Raises:
            IndexFormatError: it cannot be used.
        """
        if len(data) < _HEAD.size + _CHECK.size:
            raise IndexFormatError("The index", "it is cut short")
        magic, pack_count, entry_count = _HEAD.unpack_from(data)
        start = _HEAD.size + pack_count * ID_BYTES
        end = start + entry_count * _RECORD_BYTES
        if magic != MAGIC or end + _CHECK.size != len(data):
            raise IndexFormatError("The index", "its head does not fit its size")
        if _CHECK.unpack_from(data, end)[0] != check_value(memoryview(data)[:end]):
            raise IndexFormatError("The index", "its check value does not fit")
        packs = tuple(data[at : at + ID_BYTES] for at in range(_HEAD.size, start, ID_BYTES))
        return cls(packs, data[start:end])
