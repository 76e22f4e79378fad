"""An engine in a process of its own, told what to do by lines of JSON on its standard input."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import pvc
from pvc.errors import PvcError

WORDS, WIDTH = 1200, 256
LAYERS = {"medium": 2, "large": 8}


class Tiny(torch.nn.Module):
    """A model with whatever weights can look like: ties, views, strides, scalars, buffers."""

    counts: torch.Tensor
    scale: torch.Tensor
    cache: torch.Tensor

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(WORDS, WIDTH, dtype=dtype)
        self.up = torch.nn.Linear(WIDTH, 1500, dtype=dtype)
        self.down = torch.nn.Linear(1500, WIDTH, bias=False, dtype=dtype)
        self.head = torch.nn.Linear(WIDTH, WORDS, bias=False, dtype=dtype)
        self.head.weight = self.embed.weight
        turned = torch.randn(WIDTH, 700, dtype=dtype).t()  # not contiguous
        self.turned = torch.nn.Parameter(turned * 0.01)
        self.register_buffer("counts", torch.arange(5))
        self.register_buffer("scale", torch.tensor(1.0, dtype=dtype))
        self.register_buffer("nothing", torch.empty(0, 3))
        self.register_buffer("cache", torch.ones(7), persistent=False)
        self.view = self.up.weight.detach()[:10]  # an attribute that is no parameter

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.embed(tokens)
        hidden = hidden + self.down(torch.relu(self.up(hidden))) * self.scale
        hidden = hidden + (self.turned.sum(0) + self.view.sum() * self.cache.sum()) * 1e-3
        logits: torch.Tensor = self.head(hidden)
        return logits


def make(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "tiny":
        return Tiny(torch.float32)
    if kind == "half":
        return Tiny(torch.bfloat16)
    if kind == "other":
        return torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Linear(8, 8))
    if kind in LAYERS:
        layers = [torch.nn.Linear(2048, 2048, bias=False) for _ in range(LAYERS[kind])]
        return torch.nn.Sequential(*layers)
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=True,
    )  # fmt: skip
    model: torch.nn.Module = Qwen3ForCausalLM(config).eval()
    return model


def save(model: torch.nn.Module, folder: Path) -> None:
    """Save a model as a checkpoint; of tied tensors the first."""
    folder.mkdir(parents=True)
    first: dict[int, str] = {}
    for name, tensor in model.state_dict().items():
        first.setdefault(tensor.data_ptr() or id(tensor), name)
    tensors = {name: model.state_dict()[name].contiguous() for name in first.values()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text("{}\n")


def load(model: torch.nn.Module, folder: Path) -> None:
    """Load such a checkpoint."""
    found = load_file(folder / "model.safetensors")
    unexpected = model.load_state_dict(found, strict=False).unexpected_keys
    assert not unexpected


def train(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    device = next(model.parameters()).device
    loss = model(torch.arange(0, 40, device=device).reshape(2, 20)).float().logsumexp(-1).mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


class Served:
    """The model, and what the lines ask of it."""

    def __init__(self, kind: str, name: str, folder: Path) -> None:
        kind, _, device = kind.partition("@")
        self.kind, _, weights = kind.partition(":")
        self.device = device or "cpu"
        self.model = make(self.kind).to(self.device)
        if weights:
            load(self.model, Path(weights))
        self.before = {name: id(p) for name, p in self.model.named_parameters()}
        self.engine = pvc.share(self.model, name, folder=folder)
        self.optimizer: torch.optim.Optimizer | None = None
        self.stop = threading.Event()
        self.released = threading.Event()
        self.failures: list[str] = []
        self.files: list[int] = []
        self.calls = 0
        self.longest = 0.0
        self.threads: list[threading.Thread] = []

    def logits(self, model: torch.nn.Module) -> torch.Tensor:
        tokens = torch.arange(0, 60, device=self.device).reshape(2, 30)
        numbers = torch.ones(4, 2048, device=self.device)
        with torch.no_grad():
            out = model(numbers if self.kind in LAYERS else tokens)
        return out if isinstance(out, torch.Tensor) else out.logits

    def ask_outputs(self, path: str) -> None:
        np.save(path, self.logits(self.model).float().cpu().numpy())

    def ask_fresh(self, weights: str, path: str) -> None:
        """Outputs of another model that was loaded with some weights."""
        model = make(self.kind).to(self.device)
        own = model.state_dict(keep_vars=True)
        with np.load(weights) as found, torch.no_grad():
            for name in found.files:
                raw = torch.from_numpy(found[name]).to(self.device)
                own[name].copy_(raw.view(own[name].dtype).reshape(own[name].shape))
        np.save(path, self.logits(model).float().cpu().numpy())

    def ask_train(self) -> None:
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3)
        with self.engine.step():
            train(self.model, self.optimizer)

    def ask_twin(self, steps: int) -> bool:
        """Whether a model that was trained without being shared is bit for bit the same."""
        twin = make(self.kind).to(self.device)
        optimizer = torch.optim.AdamW(twin.parameters(), lr=1e-3)
        for _ in range(steps):
            train(twin, optimizer)
        shared = self.model.state_dict()
        return all(torch.equal(shared[name], value) for name, value in twin.state_dict().items())

    def ask_poke(self, names: list[str], silently: bool = False) -> None:
        """Change one element of some tensors in place."""
        tensors = self.model.state_dict(keep_vars=True)
        with torch.no_grad():
            for name in names:
                tensor = tensors[name].data if silently else tensors[name]
                tensor[tuple(length // 2 for length in tensor.shape)] += 1

    def ask_facts(self) -> dict[str, object]:
        model = self.model
        facts: dict[str, object] = {
            "same": self.before == {name: id(p) for name, p in model.named_parameters()},
            "strides": {name: t.stride() for name, t in model.state_dict().items()},
            "grads": all(p.requires_grad for p in model.parameters()),
        }
        if isinstance(model, Tiny):
            facts["tied"] = model.head.weight is model.embed.weight
            facts["view"] = model.view.data_ptr() == model.up.weight.data_ptr()
        return facts

    def ask_state(self) -> dict[str, object]:
        return self.engine.state.to_json()

    def ask_load(self) -> None:
        """Call the model all the time, from two threads."""

        def work() -> None:
            while not self.stop.is_set():
                begin = time.monotonic()
                try:
                    out = self.logits(self.model)
                except (RuntimeError, ValueError, PvcError) as error:
                    self.failures.append(repr(error))
                    return
                if not bool(torch.isfinite(out).all()):
                    self.failures.append("not finite")
                self.longest = max(self.longest, time.monotonic() - begin)
                self.calls += 1

        self.threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def ask_stir(self) -> None:
        """Write to a tensor all the time."""
        tensor = next(iter(self.model.state_dict(keep_vars=True).values()))

        def work() -> None:
            while not self.stop.is_set():
                with torch.no_grad():
                    tensor.add_(0)
                time.sleep(0.001)

        threading.Thread(target=work, daemon=True).start()

    def ask_calls(self) -> dict[str, object]:
        return {"calls": self.calls, "failures": self.failures, "longest": self.longest}

    def ask_unload(self) -> dict[str, object]:
        self.stop.set()
        for thread in self.threads:
            thread.join(20)
        self.stop.clear()
        return {**self.ask_calls(), "hung": any(thread.is_alive() for thread in self.threads)}

    def ask_scribble(self) -> int:
        """A child that writes all over the weights for as long as both live; its id."""
        targets = [
            tensor.numpy().reshape(-1)[::4096] for tensor in self.model.state_dict().values()
        ]
        parent = os.getpid()
        begun, tell = os.pipe()
        os.set_blocking(tell, False)
        child = os.fork()
        if child:
            os.read(begun, 1)
            return child
        while os.getppid() == parent:
            for target in targets:
                target.fill(0.5)
            with contextlib.suppress(BlockingIOError):
                os.write(tell, b"x")
        os._exit(0)

    def ask_wait(self, seconds: float) -> None:
        """A step that lasts."""

        def work() -> None:
            with self.engine.step():
                time.sleep(seconds)

        threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)

    def ask_hold(self) -> None:
        """A step that lasts until it is let go."""
        held = threading.Event()

        def work() -> None:
            with self.engine.step():
                held.set()
                self.released.wait()

        self.released.clear()
        threading.Thread(target=work, daemon=True).start()
        held.wait()

    def ask_let_go(self) -> None:
        self.released.set()

    def ask_patience(self, seconds: float) -> None:
        self.engine._keeper._wait = seconds

    def ask_starve(self, kind: str, room: int = 0) -> None:
        """Let it have no more descriptors, or only `room` more bytes of memory."""
        if kind == "files":
            with contextlib.suppress(OSError):
                while True:
                    self.files.append(os.open(os.devnull, os.O_RDONLY))
            return
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

    def ask_feed(self) -> None:
        """The end of that."""
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
        for file in self.files:
            os.close(file)
        self.files.clear()

    def ask_close(self) -> None:
        self.engine.close()

    def ask_fork(self) -> int:
        """A child that ends in the ordinary way."""
        child = os.fork()
        if not child:
            self.engine.close()
            os._exit(0)
        return os.waitpid(child, 0)[1]


def main() -> None:
    kind, name, folder, *limits = sys.argv[1:]
    torch.set_num_threads(1)
    if limits:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limits[0]), int(limits[0])))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        served = Served(kind, name, Path(folder))
    except PvcError as error:
        answers.write(json.dumps({"error": type(error).__name__, "message": str(error)}) + "\n")
        return
    answers.write(json.dumps({"pid": os.getpid()}) + "\n")
    answers.flush()
    for line in sys.stdin:
        request = json.loads(line)
        found = getattr(served, f"ask_{request.pop('ask')}")(**request)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
