"""Messages over a Unix socket: a length, JSON, and perhaps descriptors.

    message = length u32 little-endian | JSON object, UTF-8

Descriptors come with the first byte of a message.  Nothing is ever unpickled.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError, PvcError
from pvc.strict_json import Fields, JsonError, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_MESSAGE_BYTES = 64 << 20
MAX_DESCRIPTORS = 64

_LENGTH = struct.Struct("<I")
_CREDENTIALS = struct.Struct("3i")
_CHUNK = 1 << 16


class MessageError(MalformedError):
    """A message does not follow the protocol."""


class HungUpError(PvcError):
    """The other side of a connection has gone.

    Attributes:
        peer: name of the other side.
    """

    def __init__(self, peer: str) -> None:
        self.peer = peer
        super().__init__(f"{peer} has ended, or has closed the connection.")


class PeerError(PvcError):
    """The other side of a connection is a process of another user.

    Attributes:
        user: its user id.
    """

    def __init__(self, user: int) -> None:
        self.user = user
        super().__init__(
            f"A process of user {user} cannot talk to one of user {os.geteuid()}: engine and "
            "client must belong to the same user."
        )


def check_peer(connection: socket.socket) -> int:
    """The process id of the other side, which must be of the same user.

    Raises:
        PeerError: it is another user's.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, user, _ = _CREDENTIALS.unpack(raw)
    if user != os.geteuid():
        raise PeerError(user)
    return int(pid)


def send(connection: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        MessageError: it is too long.
        HungUpError: the other side has closed the connection.
    """
    body = json.dumps(message).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise MessageError("A message", f"it has {len(body)} bytes, above {MAX_MESSAGE_BYTES}")
    data = memoryview(_LENGTH.pack(len(body)) + body)
    try:
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
        sent = connection.sendmsg([data], [rights] if fds else [])
        connection.sendall(data[sent:])
    except (BrokenPipeError, ConnectionResetError):
        raise HungUpError("The other side") from None


def await_message(connection: socket.socket) -> None:
    """Wait, in the connection's time, until a message begins to come, or the other side closes.

    Raises:
        TimeoutError: nothing came.
    """
    wait = connection.gettimeout()
    if not select.select([connection], [], [], wait)[0]:
        raise TimeoutError


def receive(connection: socket.socket, peer: str) -> tuple[Fields, list[int]]:
    """Receive one message, and the descriptors that came with it, which the caller closes.

    Raises:
        HungUpError: the other side has closed the connection.
        MessageError: what came is no message.
        TimeoutError: not all of it came in the connection's time.
    """
    fds: list[int] = []
    wait = connection.gettimeout()
    until = None if wait is None else time.monotonic() + wait
    try:
        (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, fds, peer, until))
        if length > MAX_MESSAGE_BYTES:
            raise MessageError(f"{peer}'s message", f"it has {length} bytes")
        body = _read(connection, length, fds, peer, until)
        try:
            return Fields(parse(body), f"{peer}'s message", MessageError), fds
        except JsonError as error:
            raise MessageError(f"{peer}'s message", f"it is not JSON ({error})") from None
    except BaseException:
        close_all(fds)
        raise
    finally:
        with contextlib.suppress(OSError):  # it was closed meanwhile
            connection.settimeout(wait)


def close_all(fds: Sequence[int]) -> None:
    """Close descriptors."""
    for fd in fds:
        os.close(fd)


def _read(
    connection: socket.socket, length: int, fds: list[int], peer: str, until: float | None
) -> bytes:
    data = bytearray()
    while len(data) < length:
        if until is not None:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            connection.settimeout(left)
        try:
            part, new, flags, _ = socket.recv_fds(
                connection,
                min(_CHUNK, length - len(data)),
                MAX_DESCRIPTORS,
                socket.MSG_CMSG_CLOEXEC,
            )
        except ConnectionResetError:
            part, new, flags = b"", [], 0
        fds += new
        if not part:
            raise HungUpError(peer)
        if flags & socket.MSG_CTRUNC or len(fds) > MAX_DESCRIPTORS:
            raise MessageError(f"{peer}'s message", "it brings too many descriptors")
        data += part
    return bytes(data)
