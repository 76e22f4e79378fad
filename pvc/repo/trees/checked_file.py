"""Checked files: JSON with a check value inside, which tells damage from what was written.

check   BLAKE3 of the document without it, as JSON with sorted keys; or of a name and one field

`CheckedFiles` is a cache of such files: what is missing, damaged or unreadable is not there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pvc.strict_json import MALFORMATIONS, Fields
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from pvc.errors import MalformedError

T = TypeVar("T")


def with_check(
    document: Mapping[str, Any], name: bytes = b"", field: str | None = None
) -> dict[str, Any]:
    """A document with its check value behind its other fields.

    Args:
        document: the fields.
        name: bytes that the check value covers too, such as the id that names the file.
        field: the one field that it covers; None for all of them.
    """
    return {**document, "check": _check(document, name, field)}


def without_check(
    document: Mapping[str, Any], name: bytes = b"", field: str | None = None
) -> dict[str, Any]:
    """The other fields of a document that has the right check value.

    Raises:
        ValueError: it has another one.
        KeyError: it has none.
    """
    rest = dict(document)
    if rest.pop("check") != _check(rest, name, field):
        raise ValueError("its check value is not that of its other fields")
    return rest


def checked_text(document: Mapping[str, Any]) -> str:
    """A document with its check value, as JSON."""
    return json.dumps(with_check(document), indent=1) + "\n"


def checked_fields(
    text: str | bytes, where: str, expected: str, error: type[MalformedError]
) -> Fields:
    """The fields of such a text, but for `format` and `check`.

    Args:
        text: the JSON.
        where: the file it is from.
        expected: its format.
        error: what is raised if it has another format or check value.
    """
    fields = Fields.read(text, where, error)
    fields.format(expected)
    check = fields.text("check")
    if check != _check({"format": expected, **fields.rest()}, b"", None):
        raise fields.wrong("its check value is not that of its other fields")
    return fields


def _check(document: Mapping[str, Any], name: bytes, field: str | None) -> str:
    covered = document if field is None else document[field]
    return object_id(name + json.dumps(covered, sort_keys=True).encode()).hex()


class CheckedFiles(Generic[T]):
    """A cache of checked files, each named by an id.

    Args:
        folder: where they are.
        dump: the text of an id and a value.
        load: the value of an id and a text; raises any of `MALFORMATIONS` if there is none.
    """

    def __init__(
        self, folder: Path, dump: Callable[[bytes, T], str], load: Callable[[bytes, bytes], T]
    ) -> None:
        self.folder = folder
        self._dump = dump
        self._load = load

    def path(self, name: bytes) -> Path:
        """The file of an id."""
        return self.folder / f"{name.hex()}.json"

    def read(self, name: bytes) -> T | None:
        """The value of an id, or None if there is no sound file of it."""
        try:
            return self._load(name, self.path(name).read_bytes())
        except (OSError, *MALFORMATIONS):
            return None

    def write(self, name: bytes, value: T) -> None:
        """Keep the value of an id, in place of an older one."""
        atomic.make_directory(self.folder)
        atomic.write_file(self.path(name), self._dump(name, value).encode())
