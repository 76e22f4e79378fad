"""JSON, read strictly: no repeated keys, no NaN; every field of the right type, and no others.

The standard library's reader guesses the encoding, keeps the last of two equal keys and knows
constants that JSON does not have; here each of them is an error.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, NoReturn, TypeVar

from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from pvc.errors import MalformedError

T = TypeVar("T")

MAX_TEXT = 4096
MAX_NUMBER = 1 << 62
MAX_ITEMS = 1 << 20
MALFORMATIONS = (
    ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError, IdError,
)  # fmt: skip
"""What reading JSON of another form than expected can raise."""
_KINDS: dict[type, str] = {
    str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "an object",
}  # fmt: skip


class JsonError(ValueError):
    """The bytes are not JSON."""


class RepeatedKeyError(JsonError):
    """An object holds one key more than once.

    Attributes:
        key: the first such key.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"the key {key[:80]!r} is there more than once")


def parse(raw: bytes) -> object:
    """The value that `raw` stands for.

    Raises:
        RepeatedKeyError: an object holds one key more than once.
        JsonError: anything else that is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant
        )
    except JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise JsonError(str(error)) from error


class Fields:
    """The fields of one JSON object, each taken once; `finish` refuses what is left.

    Args:
        value: the object.
        where: the file or message that it is part of, for errors.
        error: the class of the errors that all methods raise.

    Attributes:
        where: as given.
    """

    def __init__(self, value: object, where: str, error: type[MalformedError]) -> None:
        self.where = where
        self._error = error
        if not isinstance(value, dict):
            raise error(where, f"an object belongs where {_short(value)} is")
        self._left: dict[str, object] = dict(value)

    @classmethod
    def read(cls, data: str | bytes, where: str, error: type[MalformedError]) -> Fields:
        """The fields of the object that JSON text stands for."""
        try:
            value = parse(data.encode() if isinstance(data, str) else data)
        except ValueError as reason:
            raise error(where, f"it is not JSON ({reason})") from None
        return cls(value, where, error)

    def finish(self) -> None:
        """Make sure that nothing is left."""
        if self._left:
            raise self.wrong(f"it has the unknown field {_short(next(iter(self._left)))}")

    def has(self, name: str) -> bool:
        """Whether a field is there and not yet taken."""
        return name in self._left

    def names(self) -> list[str]:
        """Names of the fields that are not yet taken, sorted."""
        return sorted(self._left)

    def rest(self) -> dict[str, object]:
        """The fields that are not yet taken; they stay."""
        return dict(self._left)

    def wrong(self, detail: str) -> MalformedError:
        """The error for what the caller found."""
        return self._error(self.where, detail)

    def format(self, expected: str) -> None:
        """The field `format`, which names the format and its version."""
        found = self.text("format")
        if found != expected:
            raise self.wrong(f"its format is {_short(found)}, not {expected!r}")

    def text(self, name: str, most: int = MAX_TEXT) -> str:
        """A string of at most `most` characters."""
        found = self._take(name, str)
        if len(found) > most:
            raise self.wrong(f"its {name} has {len(found)} characters, more than {most}")
        return found

    def optional_text(self, name: str) -> str | None:
        """The same, or null."""
        return None if self.is_null(name) else self.text(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        return self._take(name, bool)

    def number(self, name: str, most: int = MAX_NUMBER) -> int:
        """An integer from 0 to `most`."""
        return self._check_number(name, self._take(name, int), most)

    def numbers(self, name: str, most: int = MAX_NUMBER) -> tuple[int, ...]:
        """Such integers."""
        return tuple(self._check_number(name, item, most) for item in self._list(name))

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

    def id(self, name: str) -> bytes:
        """An object id, as 64 hexadecimal digits."""
        try:
            return parse_id(self._take(name, str))
        except IdError as reason:
            raise self.wrong(f"its {name} is no object id ({reason})") from None

    def part(self, name: str) -> Fields:
        """An object."""
        return Fields(self._take(name, dict), self.where, self._error)

    def optional_part(self, name: str) -> Fields | None:
        """The same, or null."""
        return None if self.is_null(name) else self.part(name)

    def parts(self, name: str) -> list[Fields]:
        """A list of objects."""
        return [Fields(item, self.where, self._error) for item in self._list(name)]

    def lists(self, name: str) -> list[tuple[str, ...]]:
        """A list of lists of strings."""
        found = self._list(name)
        return [Fields({name: item}, self.where, self._error).texts(name) for item in found]

    def items(self, name: str) -> list[object]:
        """A list whose items are not looked at."""
        return self._list(name)

    def mapping(self, name: str) -> dict[str, object]:
        """An object whose fields are not looked at."""
        return self._take(name, dict)

    def is_null(self, name: str) -> bool:
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
            raise self.wrong(f"its {name} is {_short(found)}, not {_KINDS[kind]}")
        return found

    def _check_number(self, name: str, found: object, most: int = MAX_NUMBER) -> int:
        if type(found) is not int or not 0 <= found <= most:
            raise self.wrong(f"its {name} is {_short(found)}, no number from 0 to {most}")
        return found


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise RepeatedKeyError(next(key for key, count in counts.items() if count > 1))
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise JsonError(f"{name} is not a JSON value")


def _short(value: object) -> str:
    return "null" if value is None else repr(value)[:60]
