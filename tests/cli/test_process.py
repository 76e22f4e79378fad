"""`pvc` as a process: what it loads, how fast it starts, how it is interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pvc.repo.commands.init import initialise
from tests.repo.conftest import CREW, git
from tests.support import models
from tests.support.runner import PVC, Done, Pvc, environment, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIGHT = (("--help",), ("serve", "--help"), ("log",), ("status",), ("show", "listening"))
HEAVY = {
    "asyncio", "concurrent.futures", "fastapi", "git", "gitdb", "http", "llvmlite", "logging",
    "multiprocessing", "numba", "numpy", "pydantic", "rich", "safetensors", "socket", "tokenizers",
    "tomlkit", "torch", "transformers", "uvicorn", "zstandard",
}  # fmt: skip
LOADED = """
import sys
from pathlib import Path
from pvc.cli import main
from pvc.live.announced import folder
folder.default_path = lambda: Path("no-engines")
try:
    main()
except SystemExit as ended:
    assert not ended.code
print(*sys.modules, file=sys.stderr)
"""
OTHER_ROOMS = (
    "pvc.codec", "pvc.jit", "pvc.live.client", "pvc.live.engine", "pvc.live.protocol", "pvc.merge",
    "pvc.repo.trees.blocks", "pvc.weights.checkpoint", "pvc_store.pack", "pvc_store.tree",
)  # fmt: skip
SLOWER = 2.2
BIG = {f"model.layers.{n}.mlp.up_proj.weight": (4096, 2048) for n in range(8)}  # 128 MiB


# How it starts


def loaded_by(work: Path, words: tuple[str, ...]) -> list[str]:
    """The modules that `pvc` has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words], cwd=work, env=environment(), check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return done.stderr.split()


@pytest.mark.parametrize("words", LIGHT)
def test_nothing_heavy_is_loaded(work: Path, words: tuple[str, ...]) -> None:
    loaded = loaded_by(work, words)
    assert "pvc.cli.main" in loaded
    assert not HEAVY & set(loaded)


@pytest.mark.parametrize("words", LIGHT[2:])
def test_each_command_loads_its_own_rooms_only(work: Path, words: tuple[str, ...]) -> None:
    """Where no engine is announced, none of what speaks to engines; no weights, no store."""
    loaded = loaded_by(work, words)
    assert not [name for name in loaded if name.startswith(OTHER_ROOMS)]


def test_it_starts_soon(work: Path) -> None:
    """Hardly slower than importing the libraries that it stands on."""
    imports = min(seconds([sys.executable, "-c", "import git, click"], work) for _ in range(3))
    for words in ("--help", "log", "status", "show"):
        taken = min(seconds([*PVC, words], work) for _ in range(3))
        assert taken < SLOWER * imports + 0.1, words


def seconds(command: list[str], cwd: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, cwd=cwd, env=environment(), check=True, capture_output=True)
    return time.monotonic() - began


# What it is not misled by


def test_the_surroundings_of_a_git_hook(work: Path, tmp_path: Path) -> None:
    """What git sets for its hooks concerns git's own repository, and not the one of `-C`."""
    other = tmp_path / "other"
    git(tmp_path, "init", "-q", "other")
    hook = {
        "GIT_DIR": str(other / ".git"),
        "GIT_INDEX_FILE": str(other / ".git" / "index"),
        "GIT_WORK_TREE": str(other),
    }
    commands = (("status",), ("rm", "quiet"), ("log", "-n", "1"))
    done = [spawn("-C", work, *words, cwd=other, env=hook) for words in commands]
    assert [(one.code, one.err) for one in done] == [(0, "")] * 3
    assert "Remove quiet" in done[-1].out
    assert git(work, "status", "--porcelain") == ""
    assert not (other / ".git" / "index").exists()


# How it is interrupted


@pytest.fixture(scope="module", autouse=True)
def interruptible() -> Iterator[None]:
    """Programs that a shell starts in the background ignore SIGINT, and so would their children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def big(memory: Path, plain_git: None) -> Iterator[Path]:
    """A repository and a result of training that take a while: `big/work` and `big/out`."""
    folder = memory / "big"
    bits = np.random.default_rng(0).integers(0x3C00, 0x3D00, (4096, 2048), "<u2")
    moved = bits + np.random.default_rng(1).integers(0, 9, bits.shape, "<u2")
    for name, numbers in (("base", bits), ("out", moved)):
        raws = (models.Raw("BF16", bits.shape, (numbers + n).tobytes()) for n in range(len(BIG)))
        models.save(folder / name, dict(zip(BIG, raws, strict=True)))
    (folder / "work").mkdir()
    initialise(folder / "work", folder / "base", by_value=False, crew=CREW)
    yield folder
    shutil.rmtree(folder)


def interrupted(*words: str | Path, cwd: Path, number: int, busy: str) -> Done:
    """Send a signal to `pvc` once something lies in its directory at a path with wildcards."""
    process = subprocess.Popen(
        [*PVC, *map(str, words)], cwd=cwd, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(cwd.glob(busy)):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, number)
    out, err = process.communicate(timeout=60)
    return Done(process.returncode, out, err)


def state(root: Path) -> tuple[object, ...]:
    store = root / ".git" / "pvc"
    beside = sorted(path.name for path in (*root.parent.iterdir(), *root.iterdir()))
    texts = [(root / "personality.toml").read_text(), (root / "pvc.toml").read_text()]
    targets = [path.read_text() for path in sorted((store / "targets").glob("*"))]
    return (
        git(root, "log", "--all", "--format=%H%d"),
        git(root, "status", "--short"),
        beside,
        texts,
        targets,
        sorted(path.name for path in store.iterdir()),
        leftovers(root),
    )


def leftovers(root: Path) -> list[str]:
    """What was written under a temporary name."""
    return sorted(str(path) for path in root.parent.rglob("*") if "tmp" in path.name)


ENDINGS = [(signal.SIGINT, 130, "Interrupted"), (signal.SIGTERM, 143, "Terminated")]


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_an_interrupted_commit(big: Path, number: int, code: int, word: str) -> None:
    work = big / "work"
    assert Pvc(work)("status").code == 0
    before = state(work)
    store = work / ".git" / "pvc"
    words = ("commit", "x", "--from", big / "out")
    done = interrupted(*words, cwd=work, number=number, busy=".git/pvc/tmp/*/*")
    assert (done.code, done.out) == (code, "")
    assert done.err == f"error: {word}; nothing was changed.\n"
    assert state(work) == before
    assert not any((store / "tmp").iterdir())


@pytest.mark.parametrize(("number", "code", "word"), ENDINGS)
def test_an_interrupted_checkout(big: Path, number: int, code: int, word: str) -> None:
    work = big / "work"
    before = state(work)
    words = ("checkout", "main", "--to", "served")
    done = interrupted(*words, cwd=work, number=number, busy=".served.*/*")
    assert (done.code, done.out) == (code, "")
    assert done.err == f"error: {word}; nothing was changed.\n"
    assert state(work) == before


def test_an_interrupt_at_any_moment_leaves_no_traceback(work: Path) -> None:
    """From the first import on: Python itself answers what comes before."""
    codes = set()
    for step in (0, 2, 4, 6, 7, 8):
        process = subprocess.Popen(
            [sys.executable, "-c", EARLY, str(step)], cwd=work, env=environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        _, err = process.communicate(timeout=60)
        assert "Traceback" not in err, (step, err)
        assert process.returncode in {0, 130}
        codes.add(process.returncode)
    assert 130 in codes


EARLY = """
import os, signal, sys
from importlib.abc import MetaPathFinder
from pvc.cli import main

class Interrupting(MetaPathFinder):
    left = 2 ** int(sys.argv.pop())

    def find_spec(self, name, path, target=None):
        Interrupting.left -= 1
        if not Interrupting.left:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
sys.argv += ["status"]
main()
"""


# What it completes


def completed(cwd: Path, shell: str, line: str) -> list[str]:
    words = line.split(" ")
    env = {
        "_PVC_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = spawn(cwd=cwd, env=env)
    assert (done.code, done.err) == (0, "")
    return done.out.splitlines()


def test_names_are_completed(work: Path) -> None:
    assert "plain,listening" in completed(work, "bash", "pvc checkout li")
    found = completed(work, "bash", "pvc show ")
    assert {f"plain,{name}" for name in ("base", "main", "v1", "quiet", "suggesting")} <= {*found}
    assert "plain,commit" in completed(work, "bash", "pvc com")
    assert "quiet" in completed(work, "zsh", "pvc rm q")
    elsewhere = completed(work.parent, "bash", f"pvc -C {work.name} log qu")
    assert "plain,quiet" in elsewhere
    assert not any(completed(work.parent, "bash", "pvc log qu"))


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("pvc switch ", {"main"}),
        ("pvc branch -d ", {"main"}),
        ("pvc tag -d ", {"v1"}),
        ("pvc rm ", {"listening", "quiet", "suggesting"}),
        ("pvc mv ", {"listening", "quiet", "suggesting"}),
    ],
)
def test_only_what_can_be_meant_is_completed(work: Path, line: str, names: set[str]) -> None:
    assert {*completed(work, "bash", line)} == {f"plain,{name}" for name in names}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_switched_on(work: Path, shell: str) -> None:
    done = spawn(cwd=work, env={"_PVC_COMPLETE": f"{shell}_source"})
    assert done.code == 0
    assert f"_PVC_COMPLETE={shell}_complete" in done.out
