"""`pvc` at work on a server of vLLM, as people use both.

Commands run within this process, up to the exit code; one that is caught in the middle is a process
of its own.  There is one server, and one that is started after it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pvc.live.announced import folder as folder_module
from pvc.live.commands import status as status_module
from tests.live.crash.test_client_kills import Victims
from tests.live.vllm.conftest import ROOT, needs_vllm
from tests.repo.conftest import git_config, plain_git  # noqa: F401
from tests.support.runner import Pvc, environment
from tests.support.vllm_server import Load, Server, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.live, needs_vllm]

NAME = "chat"
PVC = """
import sys
from pathlib import Path
from pvc.live.announced import folder
place = Path(sys.argv.pop(1))
folder.default_path = lambda: place
from pvc.cli.boundary import run
run()
"""
"""`pvc` for a folder of engines, its first argument."""


@dataclass
class Scene:
    """A repository, and a server of its base.

    Attributes:
        pvc: in the repository: base + a, and beside it b.
        server: with the base's weights at first.
        fresh: what it said then.
    """

    pvc: Pvc
    server: Server
    fresh: list[Any]

    def go(self, revision: str) -> str:
        """Check out into the server."""
        done = self.pvc("checkout", revision, "--live")
        assert done.code == 0, done.err
        return done.out

    def status(self) -> str:
        [line] = [one for one in self.pvc("status").out.splitlines() if one.startswith("engine:")]
        return line.removeprefix("engine:").strip()

    def verified(self, *revision: str) -> str:
        done = self.pvc("live", "verify", NAME, *revision)
        assert done.code == 0, done.out
        return done.out


def train(base: Path, seed: int, to: Path) -> Path:
    """Save a checkpoint that is a little different."""
    shutil.copytree(base, to)
    draw = torch.Generator().manual_seed(seed)
    tensors = load_file(to / "model.safetensors")
    for name, tensor in tensors.items():
        step = torch.randn(tensor.shape, generator=draw) * 0.02
        tensors[name] = (tensor.float() + step).to(tensor.dtype)
    save_file(tensors, to / "model.safetensors", metadata={"format": "pt"})
    return to


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where all is; commands look for engines there, and engines may take their time."""
    found = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_module, "default_path", lambda: found / "engines")
        patch.setattr(status_module, "PATIENCE_SECONDS", 60.0)
        yield found


@pytest.fixture(scope="module")
def scene(
    place: Path,
    checkpoint: Callable[[str], Path],
    plain_git: None,  # noqa: F811
) -> Iterator[Scene]:
    base = checkpoint("untied")
    poking = "tests.support.poking.Poking"
    server = start(base, place, NAME, "--worker-extension-cls", poking, VLLM_SERVER_DEV_MODE="1")
    try:
        (place / "work").mkdir()
        pvc = Pvc(place / "work")
        assert pvc("init", "--base", base).code == 0
        for seed, (name, *how) in enumerate((("a",), ("b", "--aside"))):
            result = train(base, seed, place / "out" / name)
            assert pvc("commit", name, "--from", result, *how).code == 0
        assert pvc("live", "ls").out == "no engine is running\n"
        early = pvc("checkout", "main", "--live")
        assert (early.code, early.err.splitlines()[0]) == (13, "error: No engine runs.")
        assert "(vLLM appears once its model is loaded)" in early.err
        server.wait()
        yield Scene(pvc, server, server.outputs())
    finally:
        server.end()


def test_there_and_back(scene: Scene) -> None:
    """Also: what is new, and what the commands print."""
    assert scene.status() == "chat running; nothing was checked out into it yet"
    listed = scene.pvc("live", "ls").out
    assert listed.startswith("chat  Qwen3ForCausalLM  process ")
    assert listed.endswith("  as it was loaded\n")
    first, second, third = scene.go("main").splitlines()
    assert first.startswith("engine chat: tree ")
    assert ", 1.31 MB written in " in first
    assert " ms and verified, " in first
    assert (second.endswith("(on main)"), third) == (True, "base + a")
    assert scene.server.outputs() != scene.fresh
    assert scene.verified().startswith("engine chat matches main, tree ")
    assert scene.status().startswith("chat (main, ")
    assert scene.status().endswith("); clean, according to the engine")
    assert "(detached; " in scene.go("HEAD~2")
    assert scene.server.outputs() == scene.fresh
    scene.verified("base")


def test_an_expression(scene: Scene) -> None:
    scene.go("main")
    main = scene.server.outputs()
    assert "HEAD" not in scene.go("base + a - 0.5*b")
    assert "(base + a - 0.5*b, " in scene.status()
    assert "not HEAD's tree" in scene.status()
    scene.verified("base + a - 0.5*b")
    mixed = scene.server.outputs()
    assert mixed not in (main, scene.fresh)
    scene.go("base + b")
    scene.go("base + a - 0.5*b")
    assert scene.server.outputs() == mixed
    assert scene.pvc("commit", "x", "--live").code == 19
    scene.go("main")
    assert scene.server.outputs() == main


def test_what_was_changed_in_place_is_found_and_kept(scene: Scene) -> None:
    scene.go("main")
    main = scene.server.outputs()
    poked = "model.layers.1.self_attn.qkv_proj.weight"
    scene.server.post("/collective_rpc", method="poke", args=[poked])
    scene.server.post("/reset_prefix_cache")
    changed = scene.server.outputs()
    assert changed != main
    differs = scene.pvc("live", "verify")
    assert differs.code == 1
    assert ": 1 tensor differs; " in differs.out
    assert differs.out.endswith("\n  model.layers.1.self_attn.q_proj.weight\n")
    refused = scene.pvc("checkout", "base", "--live")
    assert refused.code == 13
    assert "hint: Commit them with `pvc commit NAME --live chat`" in refused.err
    done = scene.pvc("commit", "poked", "--live")
    assert done.code == 0
    assert done.out.splitlines()[-1].endswith("] base + a + poked")
    assert scene.status().startswith("chat (poked, ")
    scene.go("HEAD~1")
    assert scene.server.outputs() == main
    scene.go("main")
    assert scene.server.outputs() == changed
    assert scene.pvc("live", "verify", NAME, "base").code == 1


def test_mistakes(scene: Scene) -> None:
    for words in (("checkout", "main", "--live", "chap"), ("live", "verify", "chap")):
        refused = scene.pvc(*words)
        assert refused.code == 13
        assert refused.err.startswith("error: No engine called chap runs; running: chat.")
    unknown = scene.pvc("checkout", "base + c", "--live")
    assert unknown.code == 14
    assert "`pvc log NAME` to find" in unknown.err.replace("\n", " ")


def test_under_load(scene: Scene) -> None:
    scene.go("main")
    main = scene.server.outputs()
    with Load(scene.server) as load:
        for revision in ("base", "base + b", "main", "base", "main"):
            scene.go(revision)
    assert load.failures == []
    assert load.answers > 0
    assert scene.server.outputs() == main


def test_killed_under_load(scene: Scene) -> None:
    """The server holds one of both trees, and the same command goes through."""
    points = ("after prepare", "before commit", "after commit", "before move")
    scene.go("main")
    victims = Victims(scene.pvc.directory, scene.server)  # type: ignore[arg-type]  # as an engine
    try:
        with Load(scene.server, threads=1, pause=0.1) as load:
            for point in points:
                victims.kill("checkout", "main~1", point)
                arrived = point in {"after commit", "before move"}
                scene.verified("main~1" if arrived else "main")
                scene.go("main~1")
                scene.go("main")
    finally:
        victims.process.kill()
        victims.process.communicate()
    assert load.failures == []
    assert load.answers > 0
    scene.go("base")
    assert scene.server.outputs() == scene.fresh


@pytest.fixture(scope="module")
def restarted(scene: Scene, place: Path) -> Iterator[Scene]:
    """The server ended, and another one was started from a directory of its last checkout.

    What is `fresh` here, the first one has said last.
    """
    scene.go("main")
    last = scene.server.outputs()
    assert scene.pvc("checkout", "main", "--to", place / "served").code == 0
    scene.server.end()
    assert "has ended; `pvc forget --live chat` removes it" in scene.status()
    for words in (("main", "--live"), ("main", "--live", NAME)):
        gone = scene.pvc("checkout", *words)
        assert gone.code == 13
    server = start(place / "served", place, NAME)
    try:
        server.wait()
        yield Scene(scene.pvc, server, last)
    finally:
        server.end()


def test_a_fresh_server_says_the_same(restarted: Scene) -> None:
    """Difference 0.0 to one that was started from the directory of the same checkout."""
    assert restarted.server.outputs() == restarted.fresh


def test_a_server_from_a_directory_is_recognised_by_content(restarted: Scene) -> None:
    pvc, line = restarted.pvc, restarted.status()
    assert line.startswith("chat restarted since the checkout of main, ")
    assert line.endswith("`pvc live restore chat` brings it back")
    restarted.verified()
    done = pvc.json("checkout", "main", "--live")
    assert (done["written_bytes"], done["rescue"]) == (0, None)
    assert "; clean, according to the engine" in restarted.status()
    restarted.go("base + a")
    assert restarted.server.outputs() != restarted.fresh
    restarted.go("main")
    assert restarted.server.outputs() == restarted.fresh


def test_a_server_that_dies_in_the_middle(restarted: Scene, place: Path) -> None:
    """The command ends with an error, and the next server is served as if nothing had been."""
    process = restarted.server.process
    [worker] = [one for one in members(process.pid) if comm(one) == "VLLM::Worker"]
    os.kill(worker, signal.SIGSTOP)
    words = ["-C", str(restarted.pvc.directory), "checkout", "base", "--live"]
    checkout = subprocess.Popen(
        [sys.executable, "-c", PVC, str(place / "engines"), *words], cwd=ROOT, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        journal = restarted.pvc.directory / ".git" / "pvc" / "journal.json"
        until = time.monotonic() + 60
        while not journal.exists():
            assert checkout.poll() is None, checkout.communicate()
            assert time.monotonic() < until
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        out, err = checkout.communicate(timeout=60)
    finally:
        checkout.kill()
    assert (checkout.returncode, out) == (13, "")
    assert err.startswith("error: The engine chat ")
    assert "has ended" in restarted.status()
    assert restarted.pvc("fsck").code == 0
    assert restarted.pvc("live", "ls").out == "no engine is running\n"


def members(group: int) -> list[int]:
    """The processes of a group."""
    found = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [one for one in found if group_of(one) == group]


def group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:
        return None


def comm(process: int) -> str:
    return Path(f"/proc/{process}/comm").read_text().strip()
