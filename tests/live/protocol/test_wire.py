"""Messages come in their time as wholes, or not at all."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from pvc.live.protocol import wire


def test_a_message_that_comes_drop_by_drop_takes_no_longer_than_one() -> None:
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip() -> None:
        theirs.send((1000).to_bytes(4, "little"))
        while not stop.wait(0.05):
            theirs.send(b" ")

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        ours.settimeout(0.5)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            wire.receive(ours, "They")
        assert time.monotonic() - began < 5
        assert ours.gettimeout() == 0.5
    finally:
        stop.set()
        thread.join()
        ours.close()
        theirs.close()
