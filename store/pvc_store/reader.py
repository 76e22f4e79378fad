"""A cursor over bytes from a file, which never reads past their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import struct

    from pvc_store.errors import FormatError


class ByteReader:
    """Takes a format's fields one after another.

    Args:
        data: the bytes.
        where: what they are, for messages.
        malformed: the error of this format.
    """

    def __init__(self, data: bytes, where: str, malformed: type[FormatError]) -> None:
        self._data = data
        self._at = 0
        self._where = where
        self._malformed = malformed

    def error(self, detail: str) -> FormatError:
        """The format's error with `detail`, to be raised by the caller."""
        return self._malformed(self._where, detail)

    def take(self, length: int) -> bytes:
        """The next `length` bytes.

        Raises:
            FormatError: there are fewer.
        """
        taken = self._data[self._at : self._at + length]
        if len(taken) != length:
            raise self.error(f"it ends at byte {len(self._data)}, within a field")
        self._at += length
        return taken

    def unpack(self, fields: struct.Struct) -> tuple[Any, ...]:
        """The next fields of a fixed form."""
        return fields.unpack(self.take(fields.size))

    def text(self, length: int) -> str:
        """The next `length` bytes as UTF-8.

        Raises:
            FormatError: they are not UTF-8.
        """
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.error("a name is not UTF-8") from None

    def times(self, count: int) -> range:
        """`range(count)`, if as many items of at least one byte can still follow.

        Raises:
            FormatError: they cannot.
        """
        if count > len(self._data) - self._at:
            raise self.error(f"it claims {count} items, more than it has bytes")
        return range(count)

    def finish(self) -> None:
        """Make sure that nothing is left over.

        Raises:
            FormatError: bytes follow.
        """
        if self._at != len(self._data):
            raise self.error(f"{len(self._data) - self._at} bytes follow its end")
