"""The meeting of an engine's ranks with the process that clients talk to.

That process listens at an abstract Unix socket with a name that cannot be guessed; vLLM takes the
name to its workers, and they connect.  Processes of other users are turned away.
"""

from __future__ import annotations

import secrets
import socket
from typing import Self

from pvc.live.protocol import wire
from pvc.live.vllm.ranks.rank_connection import RankConnection, RankError
from pvc.live.vllm.ranks.ranks import Ranks

JOIN_SECONDS = 60.0


class Meeting:
    """Where the ranks of an engine join; use it as a context.

    Attributes:
        method: the method that vLLM has to call in all workers.
        arguments: its arguments, with the address of this.
    """

    def __init__(self) -> None:
        address = f"pvc-{secrets.token_hex(16)}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(f"\0{address}")
        self._listener.listen(wire.MAX_DESCRIPTORS)

        self.method = "init_weight_transfer_engine"
        self.arguments = {"init_info": {"address": address}}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def ranks(self, name: str, count: int, wait: float = JOIN_SECONDS) -> Ranks:
        """All ranks, once they have joined.

        Args:
            name: what the engine is called.
            count: how many there are.
            wait: seconds that each may take.

        Raises:
            RankError: some have not, or have parts of another model.
            MessageError, SealError: they sent something malformed.
        """
        self._listener.settimeout(wait)
        found: dict[int, RankConnection] = {}
        try:
            while len(found) < count:
                peer = self._next(len(found), count, wait)
                found[peer.number] = peer
            return Ranks(name, [found[number] for number in sorted(found)])
        except BaseException:
            for peer in found.values():
                peer.close()
            raise

    def _next(self, found: int, count: int, wait: float) -> RankConnection:
        while True:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                reason = f"Of the engine's {count} ranks, {found} joined within the time."
                raise RankError(reason) from None
            connection.settimeout(wait)
            try:
                wire.check_peer(connection)
                return RankConnection(connection)
            except wire.PeerError:
                connection.close()
            except BaseException:
                connection.close()
                raise
