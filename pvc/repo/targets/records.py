"""Records of targets: a JSON file for each directory or engine that pvc has written to.

The files lie beside the store, so that worktrees share them and git does not see them.  A file is
named by the last part of its target's name, for people, and by a digest of all of it.  Records that
came along when a repository was copied are listed, and found by nobody.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from pvc.errors import MalformedError
from pvc.repo.personality.personality_file import Term
from pvc_store import atomic
from pvc_store.ids import object_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pvc.repo.targets.home import Home
    from pvc.strict_json import Fields

MAX_REVISION = 1 << 16


class RecordError(MalformedError):
    """The record of a target is malformed."""


class Record(Protocol):
    """A record of one target."""

    @property
    def home(self) -> Home:
        """The repository that it belongs to."""
        ...

    def to_text(self) -> str:
        """The JSON that is stored."""
        ...


K = TypeVar("K", Path, str)
R = TypeVar("R", bound=Record)


class Records(ABC, Generic[K, R]):
    """The records of all targets of one kind.

    Args:
        folder: where their files are.
        home: the repository.
    """

    def __init__(self, folder: Path, home: Home) -> None:
        self._folder = folder
        self._home = home

    @abstractmethod
    def _parse(self, text: bytes, where: str) -> R:
        """The record of a file; raises `RecordError`."""

    @abstractmethod
    def _key(self, record: R) -> K:
        """The path or name of the target that a record is of."""

    @abstractmethod
    def _at(self, record: R, home: Home) -> R:
        """A record as one of this repository; its home may have moved since it was read."""

    @abstractmethod
    def _names(self, key: K) -> tuple[str, bytes]:
        """The last part of a target's path or name, and all of it as bytes."""

    def all(self) -> list[R]:
        """Every record of this repository that can be read, in the order of paths or names."""
        return [record for record in self._readable() if record.home.is_same(self._home)]

    def of_others(self) -> list[R]:
        """Every record that can be read and is another repository's: this one is a copy of it."""
        return [record for record in self._readable() if not record.home.is_same(self._home)]

    def _readable(self) -> list[R]:
        found = [record for record in self._read() if not isinstance(record, RecordError)]
        return sorted(found, key=self._key)

    def malformed(self) -> list[RecordError]:
        """The fault of each record that cannot be read, in the order of their files.

        Nothing says which target such a record is of.
        """
        found = (error for error in self._read() if isinstance(error, RecordError))
        return sorted(found, key=lambda error: error.where)

    def _read(self) -> Iterator[R | RecordError]:
        for file in self._folder.glob("*.json"):
            try:
                yield self._parse(file.read_bytes(), str(file))
            except RecordError as error:
                yield error
            except FileNotFoundError:  # it was forgotten meanwhile
                continue

    def find(self, key: K) -> R | None:
        """The record of a target, or None; also None if it is another repository's.

        Raises:
            RecordError: it is malformed.
        """
        file = self._file(key)
        if not file.exists():
            return None
        record = self._parse(file.read_bytes(), str(file))
        return record if record.home.is_same(self._home) else None

    def save(self, record: R) -> None:
        """Write a record, in place of an older one of the same target; it is this repository's."""
        atomic.make_directory(self._folder)
        text = self._at(record, self._home).to_text()
        atomic.write_file(self._file(self._key(record)), text.encode())

    def knows(self, key: K) -> bool:
        """Whether there is a record of a target, malformed or not."""
        return self._file(key).exists()

    def forget(self, key: K) -> None:
        """Remove the record of a target; the target stays as it is."""
        self._file(key).unlink(missing_ok=True)

    def _file(self, key: K) -> Path:
        last, whole = self._names(key)
        slug = re.sub(r"[^A-Za-z0-9_.-]", "_", last)[:60]
        return self._folder / f"{slug}-{object_id(whole).hex()[:12]}.json"


def terms_json(terms: tuple[Term, ...] | None) -> list[list[str]] | None:
    """Terms as they are stored; the scale to the last bit."""
    return None if terms is None else [[term.vector, term.scale.hex()] for term in terms]


def read_terms(fields: Fields) -> tuple[Term, ...] | None:
    """The field `terms`, read."""
    if fields.is_null("terms"):
        return None
    return tuple(_term(item, fields) for item in fields.items("terms"))


def _term(item: object, fields: Fields) -> Term:
    match item:
        case [str(name), str(scale)]:
            with contextlib.suppress(ValueError, OverflowError):
                return Term(name, float.fromhex(scale))
    raise fields.wrong(f"{item!r} is no term")
