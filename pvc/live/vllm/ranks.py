"""All ranks of an engine, as one writer: the process that clients talk to tells them what to do.

It listens at an abstract Unix socket with a name that nobody can guess; vLLM takes the name to its
workers, and they connect.  Who connects must belong to the same user.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from typing import TYPE_CHECKING, Any, Self

from pvc.errors import PvcError
from pvc.live import sealed, wire
from pvc.live.manifest import Manifest
from pvc.live.memory import HostMemory, pieces_of
from pvc.live.placing import HOST
from pvc.live.vllm.joining import joined
from pvc.live.writer import check_before, check_fits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.live.change import Change

JOIN_SECONDS = 60.0
ANSWER_SECONDS = 600.0


class RankError(PvcError):
    """A rank did not do what it was asked for.

    Attributes:
        rank: which.
        reason: what it says, a sentence.
    """

    def __init__(self, rank: int, reason: str) -> None:
        self.rank = rank
        self.reason = reason
        super().__init__(f"Rank {rank} of the engine: {reason}")


class NotJoinedError(PvcError):
    """Not all ranks of an engine have joined.

    Attributes:
        found: how many have.
        expected: how many there are.
    """

    def __init__(self, found: int, expected: int) -> None:
        self.found = found
        self.expected = expected
        super().__init__(f"Of the engine's {expected} ranks, {found} joined within the time.")


class Meeting:
    """Where the ranks of an engine join; use it as a context.

    Attributes:
        method: what vLLM has to call in all workers.
        arguments: with which arguments; they hold where this is.
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
            NotJoinedError: some have not.
            MessageError, SealError, OtherPartsError: what they say cannot be understood.
        """
        self._listener.settimeout(wait)
        found: dict[int, _Peer] = {}
        try:
            while len(found) < count:
                peer = self._next(len(found), count, wait)
                found[peer.number] = peer
            return Ranks(name, [found[number] for number in sorted(found)])
        except BaseException:
            for peer in found.values():
                peer.close()
            raise

    def _next(self, found: int, count: int, wait: float) -> _Peer:
        while True:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                raise NotJoinedError(found, count) from None
            connection.settimeout(wait)
            try:
                wire.check_peer(connection)
                return _Peer(connection)
            except wire.PeerError:
                connection.close()
            except BaseException:
                connection.close()
                raise


class _Peer:
    """A rank, as it is seen from here."""

    def __init__(self, connection: socket.socket) -> None:
        fields, self.descriptors = wire.receive(connection, "A rank")
        self.number = fields.number("rank")
        self.manifest = Manifest.read(fields.part("manifest"))
        fields.finish()
        self._connection = connection
        connection.settimeout(ANSWER_SECONDS)

    def ask(self, message: dict[str, Any], fds: tuple[int, ...]) -> str | None:
        """Send a request; why that failed, or None."""
        try:
            wire.send(self._connection, message, fds)
        except (OSError, wire.HungUpError):
            return self._lost()
        return None

    def hear(self) -> str | None:
        """Wait for the answer; why it refuses, or None."""
        try:
            fields, fds = wire.receive(self._connection, f"Rank {self.number}")
        except (OSError, wire.HungUpError, wire.MessageError):
            return self._lost()
        wire.close_all(fds)
        return fields.text("message") if fields.has("error") else None

    def _lost(self) -> str:
        """Whatever it may still say does not belong to what it is asked next."""
        self._connection.close()
        return "It does not answer any more."

    def close(self) -> None:
        """Let it go."""
        self._connection.close()
        wire.close_all(self.descriptors)


class Ranks:
    """All ranks; they prepare together, and commit together.

    Attributes:
        manifest: of the engine.
        descriptors: of the host's storages, in the order of the manifest.
    """

    def __init__(self, name: str, peers: list[_Peer]) -> None:
        self._peers = peers
        self.descriptors = [fd for peer in peers for fd in peer.descriptors]
        self.manifest = joined(name, [peer.manifest for peer in peers])
        self._memories = self._map()
        self._prepared = False

    def prepare(self, change: Change, stage_fd: int) -> None:
        """Let all ranks check a change; nothing is changed.

        Raises:
            ForeignTensorError: it does not fit the engine.
            MovedOnError: what it replaces is something else than the client thinks.
            RankError: a rank refuses.
        """
        check_fits(change, self.manifest)
        self._check_divided(change)
        self._prepared = True
        self._all({"request": "prepare", **change.to_json()}, (stage_fd,))

    def commit(self) -> None:
        """Let all ranks write what they have prepared, and verify it.

        Raises:
            RankError: a rank has not, or what it wrote is not right.
        """
        self._prepared = False
        self._all({"request": "commit"})

    def drop(self) -> None:
        """Let all ranks forget what they have prepared."""
        if self._prepared:
            self._prepared = False
            with contextlib.suppress(RankError):
                self._all({"request": "drop"})

    def close(self) -> None:
        """Let all ranks go; weights stay as they are."""
        for peer in self._peers:
            peer.close()

    def _all(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> None:
        """Ask all at once, and hear all before the first refusal is raised."""
        refusals = {peer.number: peer.ask(message, fds) for peer in self._peers}
        for peer in self._peers:
            refusals[peer.number] = refusals[peer.number] or peer.hear()
        for number, reason in refusals.items():
            if reason is not None:
                raise RankError(number, reason)

    def _check_divided(self, change: Change) -> None:
        """Compare those blocks of which no rank holds all; the ranks compare the others."""
        if self._memories is None:
            return
        for part in change.tensors:
            tensor = self.manifest.tensors[part.name]
            for index, before, _ in part.blocks():
                if (
                    len(set(self._ranks_of(piece.storage for piece in pieces_of(tensor, index))))
                    > 1
                ):
                    check_before(tensor, index, before, self._memories)

    def _ranks_of(self, storages: Iterable[int]) -> Iterable[int]:
        return (self.manifest.storages[storage].rank for storage in storages)

    def _map(self) -> list[HostMemory] | None:
        """All storages, for reading; None if some are a GPU's."""
        storages = self.manifest.storages
        if any(storage.device != HOST for storage in storages):
            return None
        return [
            HostMemory(sealed.map_sealed(fd, one.nbytes, sealed.WEIGHTS_SEALS, "A rank's memory"))
            for fd, one in zip(self.descriptors, storages, strict=True)
        ]
