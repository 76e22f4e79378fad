"""How long commands take that read no weights, beside a Python that does nothing.

    python -m benchmarks.startup                        thirty rounds, a quarter of a minute

Processor time, user and system, of the process and of the git processes that it waits for.  The
commands take turns, so that a slower minute of the machine is everybody's.  The repository is made
here: a tiny base, two vectors on it and one aside.  Byte code is cached in a folder of its own,
whatever the environment says of it; a round before the first one fills it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EMPTY = "python -c pass"
COMMANDS = ("--help", "log", "status", "show")
ASKED = 10.0
SHAPES = {"model.embed_tokens.weight": (64, 32), "model.norm.weight": (32,)}
AUTHOR = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "bench"), ("EMAIL", "bench@localhost"))
}


def environment(folder: Path) -> dict[str, str]:
    """The environment of all processes: an author for git, and a cache for byte code."""
    found = {**os.environ, **AUTHOR, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found


def repository(folder: Path, environ: Mapping[str, str]) -> Path:
    """Make a repository: base + first + second, and beside them third."""
    import numpy as np
    from safetensors.numpy import save_file

    for seed, name in enumerate(("base", "first", "second", "third")):
        random = np.random.default_rng(seed)
        tensors = {
            tensor: random.normal(0, 0.02, size).astype(np.float32)
            for tensor, size in SHAPES.items()
        }
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text('{"model_type": "tiny"}')
    work = folder / "work"
    for words in (
        ("-C", folder, "init", "work", "--base", "base"),
        ("-C", work, "commit", "first", "--from", folder / "first", "--onto", "base"),
        ("-C", work, "commit", "second", "--from", folder / "second", "--onto", "HEAD"),
        ("-C", work, "commit", "third", "--from", folder / "third", "--onto", "base", "--aside"),
    ):
        run(["-m", "pvc", *map(str, words), "--quiet"], folder, environ)
    return work


def run(words: Sequence[str], directory: Path, environ: Mapping[str, str]) -> float:
    """Processor seconds of a Python with these arguments, and of what it waited for."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=directory, env=environ, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, words)
    return usage.ru_utime + usage.ru_stime


def measured(directory: Path, environ: Mapping[str, str], rounds: int) -> dict[str, float]:
    """Median processor seconds of an empty Python and of each command."""
    words = {EMPTY: ["-c", "pass"], **{name: ["-m", "pvc", name] for name in COMMANDS}}
    taken: dict[str, list[float]] = {name: [] for name in words}
    for number in range(1 + rounds):
        for name, arguments in words.items():
            seconds = run(arguments, directory, environ)
            if number:
                taken[name].append(seconds)
    return {name: median(found) for name, found in taken.items()}


def main() -> None:
    """Measure, and print a line of JSON for each command."""
    parser = argparse.ArgumentParser(description="Start-up of commands that read no weights.")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        environ = environment(folder)
        found = measured(repository(folder, environ), environ, options.rounds)
    for name, seconds in found.items():
        ratio = seconds / found[EMPTY]
        row = {"command": name, "cpu_ms": round(1000 * seconds, 1), "ratio": round(ratio, 1)}
        if name != EMPTY:
            row |= {"asked": ASKED, "met": ratio <= ASKED}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
