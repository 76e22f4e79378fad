"""Pausing a server, with a small engine in the place of vLLM's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pvc.live.vllm.steps import OfflineSteps, ServedSteps, SilentError, VllmError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Client:
    """As vLLM's client of its engine."""

    model_config = SimpleNamespace(is_multimodal_model=True)

    def __init__(self) -> None:
        self.paused = False
        self.slow = 0.0
        self.broken = False
        self.resets = True
        self.done: list[str] = []

    async def is_paused(self) -> bool:
        return self.paused

    async def pause_generation(self, *, mode: str, clear_cache: bool) -> None:
        assert (mode, clear_cache) == ("keep", False)
        self.paused = True
        await asyncio.sleep(self.slow)
        if self.broken:
            raise RuntimeError("it is broken")

    async def resume_generation(self) -> None:
        self.paused = False

    async def reset_prefix_cache(self, *, reset_running_requests: bool) -> bool:
        assert reset_running_requests
        self.done.append("prefix cache")
        return self.resets

    async def reset_encoder_cache(self) -> None:
        self.done.append("encoder cache")

    async def update_weight_version(self, version: str) -> None:
        if version == "bad":
            raise RuntimeError("this version is bad")
        self.done.append(version)


@pytest.fixture
def served() -> Iterator[tuple[Client, ServedSteps]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    while not loop.is_running():
        pass
    client = Client()
    yield client, ServedSteps(client, loop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_pause_renew_go_on(served: tuple[Client, ServedSteps]) -> None:
    client, steps = served
    assert steps.shut(5)
    assert client.paused
    steps.renew("pvc:main")
    assert client.done == ["prefix cache", "encoder cache", "pvc:main"]
    steps.open()
    assert not client.paused


def test_a_pause_of_others_stays(served: tuple[Client, ServedSteps]) -> None:
    client, steps = served
    client.paused = True
    assert steps.shut(5)
    steps.open()
    assert client.paused


def test_a_pause_that_stayed_is_ours(served: tuple[Client, ServedSteps]) -> None:
    """After a commit that failed, the next one may let it go on."""
    client, steps = served
    assert steps.shut(5)
    assert steps.shut(5)
    steps.open()
    assert not client.paused


def test_steps_that_do_not_end(served: tuple[Client, ServedSteps]) -> None:
    client, steps = served
    client.slow = 30
    assert not steps.shut(0.05)
    assert not client.paused


def test_a_pause_that_fails_is_taken_back(served: tuple[Client, ServedSteps]) -> None:
    client, steps = served
    client.broken = True
    with pytest.raises(VllmError, match="asked to pause, and failed: it is broken"):
        steps.shut(5)
    assert not client.paused


@pytest.mark.parametrize("broken", ["pause_scheduler", "resume_scheduler"])
def test_who_waits_for_an_offline_engine_that_has_ended_goes_on(broken: str) -> None:
    """Its methods say what happened."""

    def fail(*_: object) -> None:
        raise RuntimeError("it has ended")

    core = SimpleNamespace(is_scheduler_paused=bool, pause_scheduler=print, resume_scheduler=print)
    engine = SimpleNamespace(step=fail, add_request=fail, abort_request=fail)
    engine.engine_core = SimpleNamespace(engine_core=core)
    steps = OfflineSteps(engine)
    setattr(core, broken, fail)

    def pause() -> None:
        assert steps.shut(5)
        steps.open()

    with pytest.raises(RuntimeError, match="it has ended"):
        pause()
    with ThreadPoolExecutor() as pool, pytest.raises(RuntimeError, match="it has ended"):
        pool.submit(engine.step).result(30)


def test_what_fails_is_said(served: tuple[Client, ServedSteps]) -> None:
    client, steps = served
    with pytest.raises(VllmError, match="note the version of its weights, and failed: this ver"):
        steps.renew("bad")
    client.resets = False
    with pytest.raises(VllmError, match="asked to reset its prefix cache, and failed"):
        steps.renew("pvc:main")


def test_a_server_that_has_ended() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(SilentError):
        ServedSteps(Client(), loop).shut(5)
    loop.close()
