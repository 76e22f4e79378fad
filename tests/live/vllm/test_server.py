"""A server of vLLM is an engine; requests notice neither updates nor killed clients."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from pvc import live
from tests.live.conftest import CREW
from tests.live.conftest import held as now
from tests.live.conftest import update as update_from
from tests.live.test_kills import Clients
from tests.live.vllm.checkpoints import PROMPTS, content
from tests.live.vllm.conftest import ENVIRONMENT, LOADING_SECONDS, ROOT, needs_vllm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.conftest import Weights
    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, needs_vllm]

NAME = "served"
KILLS = 24


@dataclass
class Server:
    """A server, and what it is asked."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    base: Weights
    tuned: Weights
    name: str = NAME

    def connect(self) -> live.Connection:
        return live.connect(NAME, self.folder)

    def post(self, path: str, **body: object) -> Any:
        url, data = f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.loads(answer.read())

    def complete(self, prompt: list[int], tokens: int = 16) -> list[Any]:
        found = self.post(
            "/v1/completions", model="m", prompt=prompt, max_tokens=tokens, temperature=0,
            logprobs=1, return_token_ids=True, ignore_eos=True,
        )["choices"][0]  # fmt: skip
        return [found["token_ids"], found["logprobs"]["token_logprobs"]]

    def outputs(self) -> list[list[Any]]:
        return [self.complete(prompt) for prompt in PROMPTS]

    def healthy(self) -> bool:
        with contextlib.suppress(OSError):
            url = f"http://127.0.0.1:{self.port}/health"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(answer.status == 200)
        return False


def update(connection: live.Connection, before: Weights, after: Weights) -> None:
    update_from(connection, before, after, repository="/r")  # as killed clients do


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], Path]
) -> Iterator[Server]:
    """A running server with the base weights."""
    place = tmp_path_factory.mktemp("server")
    folder = place / "engines"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = json.dumps({"pvc": {"name": NAME, "folder": str(folder)}})
    arguments = [
        "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--dtype", "bfloat16",
        "--max-model-len", "400", "--max-num-seqs", "8", "--kv-cache-memory-bytes", "67108864",
        "--model", str(checkpoint("untied")), "--served-model-name", "m",
        "--weight-transfer-config", '{"backend": "pvc"}', "--additional-config", options,
    ]  # fmt: skip
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments],
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(place), "VLLM_PLUGINS": "pvc"},
        )
    base, tuned = (content(checkpoint(name)) for name in ("untied", "untied tuned"))
    found = Server(process, port, folder, base, tuned)
    until = time.monotonic() + LOADING_SECONDS
    while not found.healthy():
        assert process.poll() is None, (place / "log").read_text()[-3000:]
        assert time.monotonic() < until, "the server does not start"
        time.sleep(0.5)
    yield found
    process.terminate()
    process.wait(60)


@dataclass
class Load:
    """Requests that are sent all the time."""

    server: Server
    threads: int = 2
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def work(self) -> None:
        while not self.stop.is_set():
            try:
                tokens, _ = self.server.complete(PROMPTS[self.answers % 2], 24)
            except OSError as error:
                self.failures.append(repr(error))
                return
            if len(tokens) != 24:
                self.failures.append(f"{len(tokens)} tokens")
            self.answers += 1

    def __enter__(self) -> Load:
        self.running = [threading.Thread(target=self.work) for _ in range(self.threads)]
        for thread in self.running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.running:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self.running)


def test_outputs_are_those_of_a_fresh_engine_and_come_back(
    server: Server, llms: Llms, checkpoint: Callable[[str], Path]
) -> None:
    llms.load("fresh", checkpoint("untied tuned"))
    fresh, before = llms.outputs("fresh"), server.outputs()
    with server.connect() as connection:
        assert live.content(connection, CREW)[0].id == server.base.tree.id
        update(connection, server.base, server.tuned)
        after = server.outputs()
        assert after == fresh != before
        assert live.content(connection, CREW)[0].id == server.tuned.tree.id
        update(connection, server.tuned, server.base)
    assert server.outputs() == before


def test_nothing_is_added_to_the_public_port(server: Server) -> None:
    """It works with vLLM's development mode off, whose routes are not there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/openapi.json") as answer:
        paths = json.loads(answer.read())["paths"]
    assert not [path for path in paths if "pvc" in path or "weight" in path or "pause" in path]


def test_updates_under_load(server: Server) -> None:
    before = server.outputs()
    with Load(server) as load, server.connect() as connection:
        for _ in range(4):
            update(connection, server.base, server.tuned)
            update(connection, server.tuned, server.base)
    assert load.failures == []
    assert load.answers > 0
    assert server.outputs() == before


def test_killed_clients(server: Server) -> None:
    """Whenever a client is killed, the engine holds one of both trees, and requests go on."""
    clients = Clients(server)  # type: ignore[arg-type]  # it has a name and a folder
    chance = random.Random(5)
    before = server.outputs()
    inside = 0
    with Load(server) as load:
        for at in range(KILLS):
            with server.connect() as connection:
                held = connection.state().origin
            number = 1 if held is None else 1 - clients.trees.index(held.tree)
            point = ("commit sent", "none", "none", "before commit")[at % 4]
            kill_at = "commit" if point == "none" else None
            inside += clients.run(number, point, kill_at, chance.random() * 0.03) == "commit"
            with server.connect() as connection:
                tree, state = live.content(connection, CREW)
            assert tree.id in clients.trees
            assert state.torn is None
    clients.process.kill()
    clients.process.communicate()
    assert load.failures == []
    assert load.answers > 0
    assert inside >= 10
    with server.connect() as connection:
        update(connection, now(connection), server.base)
    assert server.outputs() == before
