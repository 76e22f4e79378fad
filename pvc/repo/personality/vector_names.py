"""Names of vectors: what may be one, so that expressions and revisions stay unambiguous."""

from __future__ import annotations

import re

from pvc.errors import PvcError

MAX_NAME = 100
RESERVED = frozenset({"base", "HEAD", "FETCH_HEAD", "ORIG_HEAD", "MERGE_HEAD", "CHERRY_PICK_HEAD"})

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*")


class VectorNameError(PvcError):
    """A text cannot name a vector.

    Attributes:
        name: the text.
        reason: what is wrong with it.
    """

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason
        super().__init__(f"{name[:MAX_NAME]!r} cannot name a vector: {reason}.")


def check_name(name: str) -> str:
    """Return `name` if it can name a vector.

    Raises:
        VectorNameError: it holds operators, spaces or a dash, is reserved, or too long.
    """
    if name in RESERVED:
        raise VectorNameError(name, "the word has a meaning of its own")
    if len(name) > MAX_NAME:
        raise VectorNameError(name, f"it has more than {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise VectorNameError(
            name, "letters, digits, _ and single dots are allowed, no digit first"
        )
    if name.endswith(".lock"):
        raise VectorNameError(name, "git keeps the ending .lock for itself")
    return name


def is_name(text: str) -> bool:
    """Whether `text` can name a vector."""
    try:
        check_name(text)
    except VectorNameError:
        return False
    return True
