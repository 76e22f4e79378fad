"""How servers end, those that never begin, and `pvc serve` as it is typed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from pvc import live, serve
from pvc.live.announced.registry import EngineNameTakenError
from pvc.serve.model.loaded_model import UnservableError
from tests.live.conftest import CREW, SECONDS, left
from tests.support.runner import PVC, environment, spawn
from tests.support.served import HUGE, PROMPT, ROOT, Server, body

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

BARE = """
import sys
sys.modules["fastapi"] = None
sys.argv = ["pvc", "serve", "nothing", *sys.argv[1:]]
from pvc.cli import main
main()
"""


def test_a_server_that_is_told_to_stop_ends_its_replies_first(model: Path, tmp_path: Path) -> None:
    server = Server(model, tmp_path / "engines")
    request: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 40, "n": 4, "seed": 1}
    with server.opened(**request) as answer:
        lines = answer.iter_lines()
        first = next(lines)
        server.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert first.startswith("data: {")
    assert rest[-1] == "data: [DONE]"
    assert server.line() == {"ended": True}
    assert server.process.wait(SECONDS) == 0
    assert left(tmp_path / "engines") == ["lock"]
    server.end()


@pytest.mark.usefixtures("plain_git")
def test_pvc_serve(model: Path, tmp_path: Path) -> None:
    """It is recognised by its content; and interrupted twice, it does not wait for replies."""
    name = f"test-{os.getpid()}"
    process = subprocess.Popen(
        [*PVC, "serve", model.name, "--name", name, "--port", "0", "--device", "cpu", "--json"],
        cwd=model.parent, env=environment(), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert (told["version"], told["name"]) == (1, name)
        with live.connect(name) as connection:
            assert connection.manifest.model == told["model"]
            assert len(live.content(connection, CREW)[0]) == 47
        assert spawn("init", "repository", "--base", model, cwd=tmp_path).code == 0
        done = spawn("checkout", "main", "--live", name, "--json", cwd=tmp_path / "repository")
        health = httpx.get(f"{told['url']}/health").json()
        assert health == {"status": "ok", "weights": f"pvc:{done.answer()['tree']}"}
        request = body({**HUGE, "stream": True})
        with httpx.stream("POST", f"{told['url']}/v1/completions", **request) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
        assert process.returncode == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert name not in {one.name for one in live.engines()}


def test_servers_that_cannot_be(model: Path, server: Server, tmp_path: Path) -> None:
    folder = server.folder
    with pytest.raises(EngineNameTakenError):
        serve.serve(str(model), name=server.name, port=0, folder=folder)
    with pytest.raises(UnservableError, match=str(tmp_path / "nothing")):
        serve.serve(str(tmp_path / "nothing"), name="other", port=0, folder=folder)
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    (broken / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(UnservableError, match=str(broken)):
        serve.serve(str(broken), name="other", port=0, folder=folder)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UnservableError, match=f"served at 127.0.0.1:{port}"):
            serve.serve(str(model), name="other", port=port, folder=folder)
    with pytest.raises(UnservableError, match=r"served at 203\.0\.113\.1:80"):
        serve.serve(str(model), host="203.0.113.1", port=80, folder=folder)
    assert left(folder) == ["chat.json", "chat.sock", "lock"]
    assert server.client.get("/health").status_code == 200


def test_without_the_extra_it_says_how_to_install_it() -> None:
    def bare(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", BARE, *more],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    found = bare()
    assert found.returncode == 19
    assert found.stderr == (
        "error: Serving needs the package fastapi, which is not installed; `pip install "
        "'pvc[serve]'` installs it.\n"
    )
    error = json.loads(bare("--json").stderr)["error"]
    assert (error["code"], error["name"]) == (19, "MissingExtraError")


def test_a_model_that_is_none_is_said_in_one_sentence(tmp_path: Path) -> None:
    done = spawn("serve", "nothing/at/all", "--port", "0", "--host", "0.0.0.0", cwd=tmp_path)
    assert done.code == 19
    assert done.out == ""
    warning, error = done.err.splitlines()
    assert warning.startswith("warning: anyone who can reach 0.0.0.0 can use this model: ")
    assert error.startswith("error: nothing/at/all cannot be served: ")


def test_a_device_that_is_none(model: Path, tmp_path: Path) -> None:
    for device in ("cuda:99", "nowhere"):
        with pytest.raises(UnservableError):
            serve.serve(str(model), port=0, device=device, folder=tmp_path / "engines")
