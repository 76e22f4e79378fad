"""The index: which pack contains a block.  A cache, rebuilt from the packs when it does not fit.

    file   = "PVCINDX1" | pack_count u32 | entry_count u64 | pack id 32 * | record *
           | xxh3-64 of all before u64                                  (little-endian)
    record = entry 64 (see `block`) | number of the pack u32            sorted by key

Pack ids are sorted.  A block that lies in several packs is found in the first of them.

Limits: 2^32 packs.
"""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np

from pvc_store.block import ENTRY_BYTES, PackEntry
from pvc_store.errors import FormatError
from pvc_store.ids import ID_BYTES, check_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAGIC = b"PVCINDX1"

_HEAD = struct.Struct("<8sIQ")
_CHECK = struct.Struct("<Q")
_ANY_PACK = bytes(4)
# Keys are big-endian in their bytes, so that two numbers order them as their bytes do.
_RECORD = np.dtype([("high", ">u8"), ("low", ">u8"), ("rest", "V48"), ("pack", "<u4")])


class IndexFormatError(FormatError):
    """The index file cannot be used; it is to be rebuilt."""


class BlockIndex:
    """An immutable, sorted table: block key -> (pack id, entry).

    Args:
        packs: ids of the packs, sorted.
        records: array of `_RECORD`, sorted by key, each key once.
    """

    def __init__(self, packs: tuple[bytes, ...], records: NDArray[np.void]) -> None:
        self.packs = packs
        self._records = records
        self._high = records["high"].astype(np.uint64)  # native and contiguous, for the search

    @classmethod
    def of(cls, packs: Iterable[tuple[bytes, Sequence[PackEntry]]]) -> BlockIndex:
        """The index of some packs and their entries."""
        return cls((), np.empty(0, _RECORD)).plus(packs)

    def plus(self, packs: Iterable[tuple[bytes, Sequence[PackEntry]]]) -> BlockIndex:
        """This index with some more packs and their entries, taken one after another."""
        added = {pack: _records(entries) for pack, entries in packs}
        names = sorted({*self.packs, *added})
        number = {name: position for position, name in enumerate(names)}
        known = self._records.copy()
        known["pack"] = np.array([number[name] for name in self.packs], np.uint32)[known["pack"]]
        for name, records in added.items():
            records["pack"] = number[name]
        merged = np.empty(len(known) + sum(map(len, added.values())), _RECORD)
        np.concatenate([known, *added.values()], out=merged)
        merged = merged[np.lexsort((merged["pack"], merged["low"], merged["high"]))]
        first = np.ones(len(merged), np.bool_)
        first[1:] = _rises(merged)
        return BlockIndex(tuple(names), merged[first])

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[tuple[bytes, PackEntry]]:
        return map(self._record, range(len(self)))

    def __contains__(self, key: object) -> bool:
        return isinstance(key, bytes) and self._position(key) is not None

    def find(self, key: bytes) -> tuple[bytes, PackEntry] | None:
        """The pack and the entry of a block, or None."""
        position = self._position(key)
        return None if position is None else self._record(position)

    def _position(self, key: bytes) -> int | None:
        high, low = int.from_bytes(key[:8]), int.from_bytes(key[8:])
        start = int(self._high.searchsorted(np.uint64(high)))
        for position in range(start, len(self)):
            if self._high[position] != high:
                return None
            if self._records["low"][position] == low:
                return position
        return None

    def _record(self, position: int) -> tuple[bytes, PackEntry]:
        record = self._records[position]
        return self.packs[record["pack"]], PackEntry.from_bytes(
            record.tobytes()[:ENTRY_BYTES], "The index"
        )

    def to_bytes(self) -> bytes:
        """The file form."""
        head = _HEAD.pack(MAGIC, len(self.packs), len(self))
        body = b"".join((head, *self.packs, self._records.tobytes()))
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
        end = start + entry_count * _RECORD.itemsize
        if magic != MAGIC or end + _CHECK.size != len(data):
            raise IndexFormatError("The index", "its head does not fit its size")
        if _CHECK.unpack_from(data, end)[0] != check_value(memoryview(data)[:end]):
            raise IndexFormatError("The index", "its check value does not fit")
        packs = tuple(data[at : at + ID_BYTES] for at in range(_HEAD.size, start, ID_BYTES))
        records = np.frombuffer(data, _RECORD, entry_count, start)
        if any(before >= after for before, after in itertools.pairwise(packs)):
            raise IndexFormatError("The index", "its packs are out of order")
        if not _rises(records).all() or (records["pack"] >= pack_count).any():
            raise IndexFormatError("The index", "its records are out of order or of no pack")
        return cls(packs, records)


def read_index(path: Path) -> BlockIndex | None:
    """The index in a file, or None if there is none that can be used."""
    try:
        return BlockIndex.from_bytes(path.read_bytes())
    except (OSError, IndexFormatError):
        return None


def _records(entries: Sequence[PackEntry]) -> NDArray[np.void]:
    data = bytearray().join(entry.to_bytes() + _ANY_PACK for entry in entries)
    return np.frombuffer(data, _RECORD)


def _rises(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether the key of each record but the first is greater than the one before."""
    high, low = records["high"], records["low"]
    rises = (high[1:] > high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] > low[:-1]))
    return np.asarray(rises, np.bool_)
