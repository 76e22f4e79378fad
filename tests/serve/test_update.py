"""Weights change under a server that is asked all the time."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pvc import live
from pvc.weights.checkpoint import Checkpoint
from tests.live.conftest import CREW, held, update
from tests.support.served import PROMPT, Reference

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.served import Server

pytestmark = pytest.mark.slow
UPDATES = 12
MOST = 10


class Load:
    """Clients that ask all the time, streamed and not."""

    def __init__(self, server: Server) -> None:
        self.seen: list[tuple[str | None, list[float]]] = []
        self.failures: list[str] = []
        self._server = server
        self._stop = threading.Event()
        works = (self._whole, self._streamed, self._whole)
        self._threads = [threading.Thread(target=self._work, args=(one,)) for one in works]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait(self, count: int) -> None:
        """Until so many more replies have come."""
        goal = len(self.seen) + count
        deadline = time.monotonic() + 60
        while len(self.seen) < goal and not self.failures and time.monotonic() < deadline:
            time.sleep(0.01)

    def _work(self, ask: Any) -> None:
        request = {"prompt": PROMPT, "max_tokens": MOST, "temperature": 0, "logprobs": 0}
        while not self._stop.is_set():
            try:
                self.seen.append(ask(request))
            except (AssertionError, httpx.HTTPError, KeyError) as error:
                self.failures.append(repr(error))
                return

    def _whole(self, request: dict[str, Any]) -> tuple[str | None, list[float]]:
        answer = self._server.ask(**request)
        return answer["system_fingerprint"], answer["choices"][0]["logprobs"]["token_logprobs"]

    def _streamed(self, request: dict[str, Any]) -> tuple[str | None, list[float]]:
        parts = self._server.stream(**request)
        (version,) = {part["system_fingerprint"] for part in parts}
        logprobs = [one for part in parts for one in _logprobs(part)]
        return version, logprobs


def _logprobs(part: dict[str, Any]) -> list[float]:
    found: list[float] = part["choices"][0]["logprobs"]["token_logprobs"]
    return found


def test_every_reply_is_wholly_of_one_version(server: Server, model: Path) -> None:
    with server.connect() as connection:
        base = held(connection)
        tuned = base.changed()
        expected = {
            f"pvc:{one.tree.id.hex()}": Reference(model, one).likely(PROMPT, MOST)
            for one in (base, tuned)
        }
        with Load(server) as load:
            load.wait(2)
            for number in range(UPDATES):
                before, after = (base, tuned) if number % 2 == 0 else (tuned, base)
                update(connection, before, after)
                load.wait(4)
        assert load.failures == []
        assert live.verify(connection, base.tree, CREW)[0] == ()
    versions = [version for version, _ in load.seen]
    assert all(versions.count(one) > 5 for one in expected)
    first = next(at for at, version in enumerate(versions) if version != "loaded")
    started = f"pvc:{base.tree.id.hex()}"
    expected["loaded"] = expected[started]
    assert all(found == expected[version or ""] for version, found in load.seen)
    assert first
    assert "loaded" not in versions[first + 3 :]  # three may have been under way
    assert server.client.get("/health").json()["weights"] == started
    for stream in (False, True):
        body = {"prompt": PROMPT, "stream": stream}
        assert server.client.post("/v1/completions", json=body).headers["x-pvc-weights"] == started
    (listed,) = server.client.get("/v1/models").json()["data"]
    assert listed["weights"] == started


def test_the_tensors_that_are_served_are_those_of_the_files(server: Server, model: Path) -> None:
    """So a model that was checked out is recognised by its content."""
    files = Checkpoint.open(model).tensors
    raw = (model / "model.safetensors").read_bytes()
    with server.connect() as connection:
        found = held(connection)
    assert {name: (one.kind, one.shape) for name, one in found.tree.items()} == {
        name: (one.kind, one.shape) for name, one in files.items()
    }
    for name, place in files.items():
        data = raw[place.offset : place.offset + place.nbytes]
        assert found.raw[name].tobytes() == data
