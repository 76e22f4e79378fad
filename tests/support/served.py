"""A model of the lab, served by a process of its own, and what transformers itself makes of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import torch

from pvc import live
from pvc.demo.model import isolated
from pvc.demo.training import Schedule, train_base
from pvc.serve.model.loaded_model import LoadedModel, load
from tests.live.conftest import SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import Weights

ROOT = Path(__file__).parents[2]
PROMPT = "please open the door in the hall"
HUGE: dict[str, Any] = {"prompt": [PROMPT] * 60, "n": 16, "max_tokens": 40}
"""A request that nobody waits for."""


def lab_model(directory: Path) -> Path:
    """A checkpoint of the lab, hardly trained."""
    train_base(directory, schedule=Schedule(steps=2, rate=1e-3, dialogues=2, controls=2))
    return directory


class Server:
    """A server, and a client of it."""

    def __init__(self, model: Path, folder: Path, name: str = "chat") -> None:
        self.folder = folder
        self.name = name
        program = [sys.executable, "-m", "tests.support.server_process", str(model), name]
        self.process = subprocess.Popen(
            [*program, str(folder)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.told = self.line()
        self.client = httpx.Client(base_url=self.told.get("url", ""), timeout=SECONDS)

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found

    def post(self, path: str = "completions", **body: Any) -> httpx.Response:
        return self.client.post(f"/v1/{path}", json=body)

    def ask(self, path: str = "completions", **body: Any) -> dict[str, Any]:
        answer = self.post(path, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def text(self, **body: Any) -> str:
        (choice,) = self.ask(**body)["choices"]
        found: str = choice["text"]
        return found

    @contextlib.contextmanager
    def opened(self, path: str = "completions", **body: Any) -> Iterator[httpx.Response]:
        """A streamed reply that can be left before it ends."""
        body = {**body, "stream": True}
        with self.client.stream("POST", f"/v1/{path}", json=body) as answer:
            yield answer

    def stream(self, path: str = "completions", **body: Any) -> list[dict[str, Any]]:
        """All chunks of a streamed reply."""
        with self.opened(path, **body) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            return chunks(answer)

    def connect(self) -> live.Connection:
        return live.connect(self.name, self.folder)

    def end(self) -> None:
        self.client.close()
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def chunks(answer: httpx.Response) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


class Reference:
    """transformers, without any server."""

    def __init__(self, directory: Path, weights: Weights | None = None) -> None:
        self.loaded: LoadedModel = load(str(directory), "cpu")
        if weights is None:
            return
        own = self.loaded.model.state_dict(keep_vars=True)
        with torch.no_grad():
            for name, raw in weights.raw.items():
                found = torch.from_numpy(raw).view(own[name].dtype)
                own[name].copy_(found.reshape(own[name].shape))

    def generate(
        self, prompt: list[int], most: int, seed: int = 0, **how: Any
    ) -> tuple[list[int], list[torch.Tensor]]:
        """Tokens, and the log probabilities of all tokens in each place."""
        ids = torch.tensor([prompt])
        with isolated(seed):
            found = self.loaded.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=most, top_k=0,
                output_logits=True, return_dict_in_generate=True, **{"do_sample": False, **how},
            )  # fmt: skip
        logprobs = [torch.log_softmax(one[0].float(), -1) for one in found.logits]
        return found.sequences[0, len(prompt) :].tolist(), logprobs

    def likely(self, text: str, most: int) -> list[float]:
        """Log probabilities of the greedy reply's tokens."""
        tokens, logprobs = self.generate(self.loaded.encode(text), most)
        return [float(row[token]) for token, row in zip(tokens, logprobs, strict=True)]

    def words(self, tokens: list[int]) -> str:
        return f" {self.loaded.decode(tokens)}"


def body(request: dict[str, Any]) -> dict[str, Any]:
    """Arguments of httpx for a request."""
    return {"json": request, "timeout": SECONDS}
