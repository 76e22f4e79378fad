"""The control socket of an engine: one thread listens, one more serves each client.

    request                      answer
    {"request": "state"}         the state
    {"request": "applied"}       what was last written to the tensors that are not direct
    {"request": "storages"}      descriptors of the host's storages, for reading
    {"request": "prepare", ...}  the state; the stage comes as a descriptor
    {"request": "commit"}        the state
    {"request": "drop"}          the state
    {"request": "turn"}          the state, if no other client holds the engine or is changing it
    {"request": "hold", ...}     the state; until the client hangs up, no other can prepare

A refusal is {"error": class, "message": sentence}.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError
from pvc.live.protocol import applied_tensors, wire
from pvc.live.protocol.update import WeightUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pvc.live.announced.folder import EngineFolder
    from pvc.live.engine.keeper import Keeper
    from pvc.strict_json import Fields

log = logging.getLogger("pvc.live")

MAX_CLIENTS = 16
MESSAGE_SECONDS = 10.0
"""How long a message may take to come once it has begun, and a new client to begin its first."""
PREPARED_SECONDS = 60.0
"""How long a prepared update waits for its commit: a client that hangs must not block others."""

SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ECONNABORTED}
SCARCE_SECONDS = 0.2
"""Pause after an error of the system that may go away."""


class ControlError(PvcError):
    """The control socket cannot be opened, or a request made the engine's process fail."""


class Control:
    """Listens at the control socket, and serves clients.

    Args:
        folder: where the socket is.
        name: the engine.
        keeper: admits and writes updates.
        storages: descriptors of the host's storages that cannot write; they stay the caller's.

    Raises:
        ControlError: the socket cannot be opened.
    """

    def __init__(
        self, folder: EngineFolder, name: str, keeper: Keeper, storages: Sequence[int]
    ) -> None:
        self._keeper = keeper
        self._storages = tuple(storages)
        self._clients: dict[int, socket.socket] = {}
        self._idle: dict[int, float] = {}  # since when
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._closed = False
        self._listener = _listen(folder, name)
        self._thread = threading.Thread(target=self._accept, name=f"pvc {name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close all connections; a commit that is under way is finished first."""
        with self._lock:
            self._closed = True
            clients = list(self._clients.values())
        for one in (self._listener, *clients):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if error.errno not in SCARCE:
                    return
                time.sleep(SCARCE_SECONDS)
                continue
            number = next(self._numbers)
            with self._lock:
                if self._is_closed() or not self._make_room():
                    connection.close()
                    continue
                self._clients[number] = connection
            thread = threading.Thread(
                target=self._serve, args=(number, connection), name="pvc client", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:  # there are too many, or too little memory for one
                log.warning("pvc: a client is turned away: %s", error)
                self._end(number, connection)

    def _make_room(self) -> bool:
        """Whether there is room for one client more; who is idle longest has to leave for it."""
        if len(self._clients) < MAX_CLIENTS:
            return True
        idle = [(since, number) for number, since in self._idle.items()]
        if not idle:
            return False
        _, oldest = min(idle)
        with contextlib.suppress(OSError):
            self._clients.pop(oldest).shutdown(socket.SHUT_RDWR)
        del self._idle[oldest]
        return True

    def idle(self, number: int, *, is_idle: bool) -> None:
        """Note that a client waits for nothing and holds nothing, or no longer so."""
        with self._lock:
            if is_idle and number in self._clients:
                self._idle[number] = time.monotonic()
            else:
                self._idle.pop(number, None)

    def _is_closed(self) -> bool:
        return self._closed

    def _serve(self, number: int, connection: socket.socket) -> None:
        try:
            _Client(number, connection, self._keeper, self._storages, self.idle).serve()
        finally:
            self._keeper.leave(number)
            self._end(number, connection)

    def _end(self, number: int, connection: socket.socket) -> None:
        with self._lock:
            self._clients.pop(number, None)
            self._idle.pop(number, None)
        connection.close()


def _listen(folder: EngineFolder, name: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with folder.socket_address(name) as address:
            listener.bind(address)
            os.chmod(address, 0o600)  # noqa: PTH101  # nobody can connect before `listen`
            listener.listen(MAX_CLIENTS)
    except OSError as error:
        listener.close()
        raise ControlError(
            f"The engine's control socket cannot be opened: {error.strerror}."
        ) from error
    return listener


class _Client:
    """One client's connection."""

    def __init__(
        self,
        number: int,
        connection: socket.socket,
        keeper: Keeper,
        storages: tuple[int, ...],
        idle: Callable[..., None],
    ) -> None:
        self._idle = idle
        self._prepared = False
        self._holds = False
        self._number = number
        self._connection = connection
        self._keeper = keeper
        self._storages = storages
        self._pid = 0

    def serve(self) -> None:
        """Answer until the client hangs up, or sends a message that is malformed."""
        with contextlib.suppress(wire.HungUpError, OSError):
            try:
                self._pid = wire.check_peer(self._connection)
                self._connection.settimeout(MESSAGE_SECONDS)
                while True:
                    self._answer()
                    self._wait()
            except wire.HungUpError:
                raise
            except PvcError as error:
                log.warning("pvc: the connection of process %d is closed: %s", self._pid, error)
                self._refuse(error)

    def _wait(self) -> None:
        """Wait for the next message; one who holds nothing may take its time."""
        self._connection.settimeout(PREPARED_SECONDS if self._prepared else None)
        if not self._prepared and not self._holds:
            self._idle(self._number, is_idle=True)
        wire.await_message(self._connection)
        self._idle(self._number, is_idle=False)
        self._connection.settimeout(MESSAGE_SECONDS)

    def _answer(self) -> None:
        fields, fds = wire.receive(self._connection, f"Process {self._pid}")
        try:
            request = fields.text("request")
            try:
                reply = self._do(request, fields, fds)
            except (MemoryError, RuntimeError) as error:
                log.exception("pvc: a request of process %d failed.", self._pid)
                reason = str(error) or type(error).__name__
                raise ControlError(f"Its process failed: {reason}.") from error
        except wire.MessageError:
            raise
        except PvcError as error:
            self._refuse(error)
        else:
            wire.send(self._connection, reply, self._storages if request == "storages" else ())
        finally:
            wire.close_all(fds)

    def _do(self, request: str, fields: Fields, fds: list[int]) -> dict[str, Any]:
        self._look(request)
        if request in {"storages", "applied"}:
            fields.finish()
            return {} if request == "storages" else applied_tensors.to_json(self._keeper.applied())
        if request == "prepare":
            change = WeightUpdate.parse(fields)
            if len(fds) != 1:
                raise fields.wrong(f"it brings {len(fds)} stages")
            self._keeper.prepare(change, fds[0], self._number, self._pid)
            self._prepared = True
            return self._keeper.state().to_json()
        if request == "hold":
            command = fields.text("command")
            fields.finish()
            self._keeper.hold(self._number, self._pid, command)
            self._holds = True
            return self._keeper.state().to_json()
        fields.finish()
        if request == "commit":
            self._connection.settimeout(None)  # a step may last long
            return self._keeper.commit(self._number).to_json()
        self._act(request, fields)
        return self._keeper.state().to_json()

    def _act(self, request: str, fields: Fields) -> None:
        """Do what is answered with the state alone."""
        if request == "drop":
            self._keeper.drop(self._number)
        elif request == "turn":
            self._keeper.check_turn(self._number, self._pid)
        elif request != "state":
            raise fields.wrong(f"it asks for {request[:60]!r}, which is unknown")

    def _look(self, request: str) -> None:
        """Note what a request does to this client, and look at the framework before it."""
        if request in {"commit", "drop"}:
            self._prepared = False
        else:
            self._keeper.check()

    def _refuse(self, error: PvcError) -> None:
        wire.send(self._connection, {"error": type(error).__name__, "message": str(error)})
