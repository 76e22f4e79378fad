"""pvc as a process, and models for it made with numpy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from safetensors.numpy import save_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

SIDE, LAYERS = 256, 8
WAIT_SECONDS = 60


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def pvc(work: Path, *words: str | Path, env: Mapping[str, str] | None = None) -> Done:
    """Run a command in a directory, whatever it ends with."""
    done = subprocess.run(
        [sys.executable, "-m", "pvc", *map(str, words)], cwd=work, check=False,
        env={**os.environ, **(env or {})}, capture_output=True, text=True,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def sure(work: Path, *words: str | Path) -> str:
    """Run a command that succeeds; its output."""
    done = pvc(work, *words)
    assert done.code == 0, f"pvc {words} ended with {done.code}: {done.err}"
    return done.out


def save(folder: Path, tensors: Mapping[str, NDArray[np.floating[Any]]]) -> Path:
    """Write a model of one file."""
    folder.mkdir(parents=True)
    save_file(dict(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    return folder


def drawn(
    seed: int, of: Mapping[str, NDArray[np.float32]] | None = None
) -> dict[str, NDArray[np.float32]]:
    """Random weights; or those of a model, trained a little."""
    random = np.random.default_rng(seed)
    noise = {
        f"l{i}.w": random.standard_normal((SIDE, SIDE)).astype(np.float32) for i in range(LAYERS)
    }
    if of is None:
        return noise
    return {name: (of[name] + np.float32(1e-3) * noise[name]) for name in noise}


class Scene(NamedTuple):
    """A repository: HEAD is base + a, `c` is aside, and HEAD is checked out to `served`."""

    root: Path
    work: Path
    served: Path


def scene(root: Path) -> Scene:
    """Make the models base, m1 (a), m2 (in no repository), m3 (c), and the repository."""
    base = drawn(0)
    save(root / "base", base)
    for number in (1, 2, 3):
        save(root / f"m{number}", drawn(number, base))
    work, served = root / "work", root / "work" / "served"
    sure(root, "init", work, "--base", root / "base")
    sure(work, "commit", "a", "--from", root / "m1")
    sure(work, "commit", "c", "--from", root / "m3", "--onto", "base", "--aside")
    sure(work, "checkout", "main", "--to", served)
    return Scene(root, work, served)


def weights(folder: Path) -> bytes:
    """The bytes of a model."""
    return (folder / "model.safetensors").read_bytes()


def killed(work: Path, *words: str | Path) -> None:
    """Kill a checkout in place while it writes, so that its journal stays."""
    journal = work / ".git" / "pvc" / "journal.json"
    for _ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-m", "pvc", *map(str, words)], cwd=work, env=dict(os.environ),
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + WAIT_SECONDS
        while process.poll() is None and time.monotonic() < until:
            if journal.exists():
                time.sleep(0.003)
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait()
        if journal.exists():
            return
        sure(work, "checkout", "main", "--to", "served")
    raise RuntimeError("the checkout could not be killed in time")
