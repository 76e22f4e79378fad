"""The error tree of pvc, as far as the store knows it.

PvcError                      everything that pvc raises on purpose
  StoreError                  the object store could not do what was asked
    MissingError              an object that something refers to is not in the store
    DamageError               stored bytes are not what their name or check says
      FormatError             bytes do not follow their format
    LockedError               another process holds the lock

What the disk itself refuses (no space, no permission) stays an `OSError` with its `errno`.
"""

from __future__ import annotations

from typing import ClassVar


class PvcError(Exception):
    """Root of the tree: a failure that pvc foresaw and describes in one sentence."""


class StoreError(PvcError):
    """The object store could not do what was asked."""


class MissingError(StoreError):
    """An object is not in the store.

    Attributes:
        what: sort of object: "block", "tree", "layout" or "pack".
        name: its key or id in hexadecimal.
    """

    def __init__(self, what: str, name: str) -> None:
        self.what = what
        self.name = name
        super().__init__(f"The store has no {what} {name}.")


class DamageError(StoreError):
    """Stored bytes are not what their name or their check value says.

    Attributes:
        what: the damaged object, with its file where there is one.
        detail: what was found and what was expected.
    """

    verdict: ClassVar[str] = "is damaged"

    def __init__(self, what: str, detail: str) -> None:
        self.what = what
        self.detail = detail
        super().__init__(f"{what} {self.verdict}: {detail}.")


class FormatError(DamageError):
    """Bytes do not follow their format; each format names its own subclasses."""

    verdict = "is malformed"


class LockedError(StoreError):
    """Another process holds the lock.

    Attributes:
        path: the lock file.
        holder: what the lock file says about its holder, perhaps empty.
    """

    def __init__(self, path: str, holder: str) -> None:
        self.path = path
        self.holder = holder
        by = f" by {holder}" if holder else ""
        super().__init__(f"The lock {path} is held{by}.")
