"""How long work tells about itself.  The command line draws it; the library only reports."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what long work reports; called from several threads."""

    def start(self, label: str, total: int) -> None:
        """A phase begins: what it does, and how many bytes it will handle."""
        ...

    def advance(self, count: int) -> None:
        """`count` more bytes are done."""
        ...


class Silence:
    """Reports to nobody."""

    def start(self, label: str, total: int) -> None:
        """See `Progress.start`."""

    def advance(self, count: int) -> None:
        """See `Progress.advance`."""
