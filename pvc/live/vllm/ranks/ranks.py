"""All ranks of an engine, as one writer: the process that clients talk to tells them what to do.

It listens at an abstract Unix socket with a name that nobody can guess; vLLM takes the name to its
workers, and they connect.  Who connects must belong to the same user.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

from pvc.errors import PvcError
from pvc.live.engine.writer import ForeignTensorError, check_before, check_fits
from pvc.live.memory import sealed
from pvc.live.memory.host import HostMemory, pieces_of
from pvc.live.protocol import applied, wire
from pvc.live.pytorch.placing import HOST
from pvc.live.vllm.ranks.joining import joined
from pvc.live.vllm.ranks.peer import Peer, RankError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.live.protocol.update import WeightUpdate
    from pvc.strict_json import Fields
    from pvc_store.tree import Tensor

JOIN_SECONDS = 60.0
CHECK_WAIT_SECONDS = 0.2
"""How long a check waits for ranks that are at work; these check by themselves what they need."""


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
        found: dict[int, Peer] = {}
        try:
            while len(found) < count:
                peer = self._next(len(found), count, wait)
                found[peer.number] = peer
            return Ranks(name, [found[number] for number in sorted(found)])
        except BaseException:
            for peer in found.values():
                peer.close()
            raise

    def _next(self, found: int, count: int, wait: float) -> Peer:
        while True:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                raise NotJoinedError(found, count) from None
            connection.settimeout(wait)
            try:
                wire.check_peer(connection)
                return Peer(connection)
            except wire.PeerError:
                connection.close()
            except BaseException:
                connection.close()
                raise


class Ranks:
    """All ranks; they prepare together, and commit together.

    Attributes:
        manifest: of the engine.
        descriptors: of the host's storages, in the order of the manifest.
    """

    def __init__(self, name: str, peers: list[Peer]) -> None:
        self._peers = peers
        self.descriptors = [fd for peer in peers for fd in peer.descriptors]
        self.manifest = joined(name, [peer.manifest for peer in peers])
        self._reasons = {name: why for peer in peers for name, why in peer.reasons.items()}
        self._memories = self._map()
        self._prepared = False
        self._lock = threading.Lock()  # over what is asked and answered

    def prepare(self, change: WeightUpdate, stage_fd: int) -> None:
        """Let all ranks check a change; nothing is changed.

        Raises:
            ForeignTensorError: it does not fit the engine.
            MovedOnError: what it replaces is something else than the client thinks.
            RankError: a rank refuses.
        """
        self._check_changeable(change)
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

    def applied(self) -> list[Tensor]:
        """What was last applied to the tensors that are not direct, as far as all ranks agree.

        Raises:
            RankError: a rank does not say.
            MessageError: what it says cannot be understood.
        """
        if not self.manifest.indirect:
            return []
        told: dict[str, Tensor] = {}
        for peer, fields in zip(self._peers, self._all({"request": "applied"}), strict=True):
            every = applied.parse(fields, self.manifest)
            for name in peer.manifest.indirect:
                found = told.setdefault(name, every[name])
                if found != every[name]:
                    told[name] = applied.unknown(self.manifest.tensors[name])
        return list(told.values())

    def check(self) -> None:
        """Make sure that all ranks compute with the weights that they share; not while they write.

        Raises:
            RankError: one does not.
        """
        if self._lock.acquire(timeout=CHECK_WAIT_SECONDS):
            try:
                self._ask({"request": "check"})
            finally:
                self._lock.release()

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

    def _all(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> list[Fields]:
        with self._lock:
            return self._ask(message, fds)

    def _ask(self, message: dict[str, Any], fds: tuple[int, ...] = ()) -> list[Fields]:
        """Ask all at once, and hear all before the first refusal is raised."""
        asked = [peer.ask(message, fds) for peer in self._peers]
        heard = [why or peer.hear() for why, peer in zip(asked, self._peers, strict=True)]
        answers = []
        for peer, answer in zip(self._peers, heard, strict=True):
            if isinstance(answer, str):
                raise RankError(peer.number, answer)
            answers.append(answer)
        return answers

    def _check_changeable(self, change: WeightUpdate) -> None:
        for tensor in change.tensors:
            if tensor.name in self._reasons:
                raise ForeignTensorError(tensor.name, self._reasons[tensor.name])

    def _check_divided(self, change: WeightUpdate) -> None:
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
