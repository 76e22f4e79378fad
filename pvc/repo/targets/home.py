"""The home of records: the repository that wrote them, known by its common directory.

A repository may be copied with all that lies beside its store.  The copy has another common
directory, so what the original wrote is not taken for what the copy wrote.  A repository that is
moved within its file system keeps its directory, and paths inside of it move along.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pvc.strict_json import Fields

MAX_PATH = 1 << 16
MAX_INODE = (1 << 64) - 1
GIT = ".git"


@dataclass(frozen=True, slots=True)
class Identity:
    """A directory, whatever it is called.

    Attributes:
        device: number of its file system.
        inode: its number there.
    """

    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Identity | None:
        """The identity of a directory; None if there is none, or a link in its place."""
        try:
            found = os.lstat(path)
        except OSError:
            return None
        return cls.in_status(found) if stat.S_ISDIR(found.st_mode) else None

    @classmethod
    def in_status(cls, status: os.stat_result) -> Identity:
        """The identity in a directory's status."""
        return cls(status.st_dev, status.st_ino)

    def to_json(self) -> list[int]:
        """What is stored."""
        return [self.device, self.inode]

    @classmethod
    def read(cls, fields: Fields, name: str) -> Identity:
        """The field of this name."""
        match fields.numbers(name, MAX_INODE):
            case (device, inode):
                return cls(device, inode)
        raise fields.wrong(f"its {name} is not a device and an inode")


@dataclass(frozen=True, slots=True)
class Home:
    """A repository's common directory.

    Attributes:
        path: absolute, links resolved.
        identity: device and inode.
    """

    path: Path
    identity: Identity

    @classmethod
    def at(cls, common: Path) -> Home:
        """The home at a common directory, which exists."""
        path = Path(os.path.realpath(common))
        return cls(path, Identity.in_status(path.stat()))

    def is_same(self, other: Home) -> bool:
        """Whether both are one directory, perhaps moved in between.

        The device may differ where the path does not: a reboot can give devices other numbers.
        """
        mine, its = self.identity, other.identity
        return mine == its or (mine.inode == its.inode and self.path == other.path)

    def stored(self, path: Path) -> str:
        """A path as it is stored: relative to the home if it lies in the same working tree."""
        top = self._top
        inside = top is not None and path.is_relative_to(top)
        return os.path.relpath(path, self.path) if inside else str(path)

    def resolved(self, text: str) -> Path:
        """The absolute path that is stored so."""
        return Path(os.path.normpath(self.path / text))

    @property
    def _top(self) -> Path | None:
        """The working tree around the home, the outermost if it is a submodule's; None if bare."""
        parts = self.path.parts
        return Path(*parts[: parts.index(GIT)]) if GIT in parts else None

    def to_json(self) -> dict[str, Any]:
        """What is stored."""
        return {"path": str(self.path), "identity": self.identity.to_json()}

    @classmethod
    def read(cls, fields: Fields) -> Home:
        """The field `home`, read."""
        part = fields.part("home")
        home = cls(read_path(part, "path"), Identity.read(part, "identity"))
        part.finish()
        return home


def read_path(fields: Fields, name: str, home: Home | None = None) -> Path:
    """A path, absolute; a relative one is one of a home, if that is given."""
    text = fields.text(name, MAX_PATH)
    if "\0" in text or not (text and (home or Path(text).is_absolute())):
        raise fields.wrong(f"its {name} {text!r} is not an absolute path")
    return Path(text) if home is None else home.resolved(text)
