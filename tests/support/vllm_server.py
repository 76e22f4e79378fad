"""Servers of vLLM: started, asked, put under load, and ended with all that belongs to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pvc import live
from tests.live.vllm.conftest import ENVIRONMENT, LOADING_SECONDS, ROOT
from tests.support.vllm_checkpoints import PROMPTS

if TYPE_CHECKING:
    from pathlib import Path

ENDING_SECONDS = 30
ASKING_SECONDS = 120


@dataclass
class Server:
    """A server, and what it is asked.

    Attributes:
        process: it; the others are in its process group.
        port: of its HTTP interface.
        name: of the engine.
        folder: where the engine is announced.
        log: what it prints.
    """

    process: subprocess.Popen[bytes]
    port: int
    name: str
    folder: Path
    log: Path

    def connect(self) -> live.Connection:
        return live.connect(self.name, self.folder)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return json.loads(answer.read() or b"null")

    def post(self, path: str, **body: object) -> Any:
        url, data = f"http://127.0.0.1:{self.port}{path}", json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=ASKING_SECONDS) as answer:
            return json.loads(answer.read())

    def weights_of(self, tokens: int, *, stream: bool = False) -> str | None:
        """Which weights the header of a reply names."""
        body = {"model": "m", "prompt": PROMPTS[1], "max_tokens": tokens, "ignore_eos": True}
        url = f"http://127.0.0.1:{self.port}/v1/completions"
        data = json.dumps({**body, "stream": stream}).encode()
        request = urllib.request.Request(url, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=ASKING_SECONDS) as answer:
            answer.read()
            found: str | None = answer.headers["x-pvc-weights"]
        return found

    def complete(self, prompt: list[int], tokens: int = 16) -> list[Any]:
        """Greedy tokens, and the logarithms of their probabilities."""
        found = self.post(
            "/v1/completions", model="m", prompt=prompt, max_tokens=tokens, temperature=0,
            logprobs=1, return_token_ids=True, ignore_eos=True,
        )["choices"][0]  # fmt: skip
        return [found["token_ids"], found["logprobs"]["token_logprobs"]]

    def outputs(self) -> list[list[Any]]:
        return [self.complete(prompt) for prompt in PROMPTS]

    def wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + LOADING_SECONDS
        while True:
            with contextlib.suppress(OSError):
                self.get("/health")
                return
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.5)

    def end(self) -> None:
        """Let it end by itself, and then whatever is left of it."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(ENDING_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(model: Path, place: Path, name: str, *more: str, **environment: str) -> Server:
    """Start a server; it has to be waited for, and ended.

    Args:
        model: what it serves.
        place: for what it leaves behind; engines are announced in `engines` there.
        name: what the engine is called.
        more: arguments.
        environment: variables.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder, log = place / "engines", place / f"log-{port}"
    options = json.dumps({"pvc": {"name": name, "folder": str(folder)}})
    arguments = [
        "--host", "127.0.0.1", "--port", str(port), "--enforce-eager", "--dtype", "bfloat16",
        "--max-model-len", "400", "--max-num-seqs", "8", "--kv-cache-memory-bytes", "67108864",
        "--model", str(model), "--served-model-name", "m",
        "--weight-transfer-config", '{"backend": "pvc"}', "--additional-config", options,
    ]  # fmt: skip
    own = {"VLLM_CACHE_ROOT": str(place), "VLLM_PLUGINS": "pvc"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments, *more],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={**os.environ, **ENVIRONMENT, **own, **environment},
            start_new_session=True,
        )
    return Server(process, port, name, folder, log)


@dataclass
class Load:
    """Requests that are sent all the time, with a pause of some seconds after each."""

    server: Server
    threads: int = 2
    pause: float = 0.0
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
            self.stop.wait(self.pause)

    def __enter__(self) -> Load:
        self.running = [threading.Thread(target=self.work) for _ in range(self.threads)]
        for thread in self.running:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.running:
            thread.join(ASKING_SECONDS)
        assert not any(thread.is_alive() for thread in self.running)
