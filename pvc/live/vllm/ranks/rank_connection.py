"""The connection to a rank, in the process that clients talk to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc.live.protocol import wire
from pvc.live.protocol.manifest import Manifest

if TYPE_CHECKING:
    import socket

    from pvc.strict_json import Fields

ANSWER_SECONDS = 600.0


class RankError(PvcError):
    """A rank did not join, holds another model, refused a request, or does not answer."""


class RankConnection:
    """A connected rank.

    Args:
        connection: to it; this takes it over.

    Attributes:
        number: the rank's.
        manifest: of its part of the model.
        reasons: tensor -> why it cannot be changed.
        descriptors: of its storages.
    """

    def __init__(self, connection: socket.socket) -> None:
        fields, self.descriptors = wire.receive(connection, "A rank")
        self.number = fields.number("rank")
        self.manifest = Manifest.read(fields.part("manifest"))
        reasons = fields.parts("reasons")
        self.reasons = {one.text("name"): one.text("reason") for one in reasons}
        fields.finish()
        self._connection = connection
        connection.settimeout(ANSWER_SECONDS)

    def ask(self, message: dict[str, Any], fds: tuple[int, ...]) -> str | None:
        """Send a request; the reason if that failed, else None."""
        try:
            wire.send(self._connection, message, fds)
        except (OSError, wire.HungUpError):
            return self._lost()
        return None

    def hear(self) -> Fields | str:
        """Wait for the answer, or for the reason of a refusal."""
        try:
            fields, fds = wire.receive(self._connection, f"Rank {self.number}")
        except (OSError, wire.HungUpError, wire.MessageError):
            return self._lost()
        wire.close_all(fds)
        return fields.text("message") if fields.has("error") else fields

    def _lost(self) -> str:
        """Close, since a late answer would be taken for that to the next request."""
        self._connection.close()
        return "It does not answer any more."

    def close(self) -> None:
        """Close the connection, and the descriptors."""
        self._connection.close()
        wire.close_all(self.descriptors)
