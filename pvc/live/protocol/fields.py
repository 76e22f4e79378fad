"""Strict reading of JSON objects: every field of the right type and size, and none besides."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from pvc.errors import MalformedError

T = TypeVar("T")

MAX_TEXT = 4096
MAX_NUMBER = 1 << 62
MAX_ITEMS = 1 << 20


class Fields:
    """The fields of one JSON object, each to be taken once.

    Args:
        value: what was read.
        where: what it is part of, for messages.
        error: raised for everything that is not as it should be.
    """

    def __init__(self, value: object, where: str, error: type[MalformedError]) -> None:
        self._where = where
        self._error = error
        if not isinstance(value, dict):
            raise error(where, f"an object belongs where {_short(value)} is")
        self._left: dict[str, object] = dict(value)

    def finish(self) -> None:
        """Make sure that nothing is left."""
        if self._left:
            raise self.wrong(f"it has the unknown field {_short(next(iter(self._left)))}")

    def has(self, name: str) -> bool:
        """Whether a field is there and not yet taken."""
        return name in self._left

    def wrong(self, detail: str) -> MalformedError:
        """The error for what the caller found."""
        return self._error(self._where, detail)

    def text(self, name: str) -> str:
        """A string of at most MAX_TEXT characters."""
        found = self._take(name, str)
        if len(found) > MAX_TEXT:
            raise self.wrong(f"its {name} has {len(found)} characters, more than {MAX_TEXT}")
        return found

    def optional_text(self, name: str) -> str | None:
        """The same, or null."""
        return None if self._is_null(name) else self.text(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        return self._take(name, bool)

    def number(self, name: str) -> int:
        """An integer from 0 to MAX_NUMBER."""
        return self._check_number(name, self._take(name, int))

    def numbers(self, name: str) -> tuple[int, ...]:
        """Such integers."""
        return tuple(self._check_number(name, item) for item in self._list(name))

    def texts(self, name: str) -> tuple[str, ...]:
        """Strings."""
        found = self._list(name)
        if not all(isinstance(item, str) for item in found):
            raise self.wrong(f"its {name} holds something else than text")
        return tuple(map(str, found))

    def raw(self, name: str, length: int | None = None) -> bytes:
        """Bytes as hexadecimal digits; of a given length, if one is given."""
        found = self._take(name, str)
        try:
            data = bytes.fromhex(found)
        except ValueError:
            raise self.wrong(f"its {name} is not hexadecimal") from None
        if length is not None and len(data) != length:
            raise self.wrong(f"its {name} has {len(data)} bytes where {length} belong")
        return data

    def part(self, name: str) -> Fields:
        """An object."""
        return Fields(self._take(name, dict), self._where, self._error)

    def optional_part(self, name: str) -> Fields | None:
        """The same, or null."""
        return None if self._is_null(name) else self.part(name)

    def parts(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, self._where, self._error) for item in self._list(name)]

    def lists(self, name: str) -> list[tuple[str, ...]]:
        """A list of lists of strings."""
        found = self._list(name)
        return [Fields({name: item}, self._where, self._error).texts(name) for item in found]

    def mapping(self, name: str) -> dict[str, object]:
        """An object whose fields are not looked at."""
        return self._take(name, dict)

    def _is_null(self, name: str) -> bool:
        """Whether a field is null, which takes it."""
        found = name in self._left and self._left[name] is None
        if found:
            del self._left[name]
        return found

    def _list(self, name: str) -> list[object]:
        found = self._take(name, list)
        if len(found) > MAX_ITEMS:
            raise self.wrong(f"its {name} has {len(found)} items, more than {MAX_ITEMS}")
        return found

    def _take(self, name: str, kind: type[T]) -> T:
        if name not in self._left:
            raise self.wrong(f"its field {name} is missing")
        found = self._left.pop(name)
        if type(found) is not kind:
            raise self.wrong(f"its {name} is {_short(found)}, no {kind.__name__}")
        return found

    def _check_number(self, name: str, found: object) -> int:
        if type(found) is not int or not 0 <= found <= MAX_NUMBER:
            raise self.wrong(f"its {name} is {_short(found)}, no number from 0 to {MAX_NUMBER}")
        return found


def _short(value: object) -> str:
    return repr(value)[:60]
