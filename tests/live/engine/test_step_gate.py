"""Steps and commits exclude each other, and neither starves."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from pvc.live.engine.step_gate import StepGate
from pvc.live.pytorch.share import _hook as hook

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_commit_is_not_kept_waiting_by_steps_that_never_pause() -> None:
    gate, stop = StepGate(), threading.Event()
    inside = 0
    seen: list[int] = []

    def work() -> None:
        nonlocal inside
        while not stop.is_set():
            with gate.step():
                inside += 1
                time.sleep(0.001)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        assert gate.shut(10)
        seen += [inside, inside]
        gate.open()
    stop.set()
    for thread in threads:
        thread.join()
    assert seen == [0] * 40


def test_steps_can_be_nested_while_a_commit_waits() -> None:
    gate, shut = StepGate(), threading.Event()

    def commit() -> None:
        assert gate.shut(10)
        shut.set()

    with gate.step():
        waiting = threading.Thread(target=commit)
        waiting.start()
        time.sleep(0.05)
        with gate.step():
            assert not shut.is_set()
    waiting.join()
    assert shut.is_set()


def test_a_commit_that_waited_too_long_lets_steps_go_on() -> None:
    gate = StepGate()
    with gate.step():
        assert not gate.shut(0.01)
    with gate.step():
        pass
    assert gate.shut(0)
    assert gate.shut(0)  # once more, to repair what is torn
    gate.open()


def test_an_end_without_a_beginning_has_no_effect() -> None:
    gate = StepGate()
    gate.leave()
    with gate.step():
        assert not gate.shut(0)
    assert gate.shut(0)


class Slow(torch.nn.Module):
    """A model whose call does what it is told to."""

    act: Callable[[], object]

    def __init__(self, gate: StepGate) -> None:
        super().__init__()
        self.hooked = hook(self, gate)

    def forward(self) -> None:
        self.act()


def interrupted() -> None:
    raise KeyboardInterrupt


def failing() -> None:
    raise ValueError("the call fails")


@pytest.mark.parametrize("how", [interrupted, failing, sys.exit])
def test_a_call_that_is_interrupted_has_ended(how: Callable[[], object]) -> None:
    """As Ctrl-C does in a notebook; torch runs no hooks then."""
    gate = StepGate()
    model = Slow(gate)
    model.act = how
    with pytest.raises((KeyboardInterrupt, ValueError, SystemExit)):
        model()
    assert gate.shut(0)
    gate.open()
    with pytest.raises((KeyboardInterrupt, ValueError, SystemExit)), gate.step():
        model()
    assert gate.shut(0)
    gate.open()
    with gate.step():
        with pytest.raises((KeyboardInterrupt, ValueError, SystemExit)):
            model()
        assert not gate.shut(0.01)
    assert gate.shut(0)


def test_a_call_that_is_interrupted_while_a_commit_waits_for_it() -> None:
    gate, began, go_on = StepGate(), threading.Event(), threading.Event()
    model = Slow(gate)

    def work() -> None:
        began.set()
        go_on.wait(20)
        raise KeyboardInterrupt

    def call() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            model()
        go_on.clear()
        began.set()
        go_on.wait(20)  # the thread goes on with other things

    model.act = work
    thread = threading.Thread(target=call)
    thread.start()
    began.wait(20)
    assert not gate.shut(0.05)  # it is under way
    began.clear()
    go_on.set()
    began.wait(20)
    assert gate.shut(20)
    gate.open()
    go_on.set()
    thread.join()


def test_calls_of_many_threads_and_depths_are_seen_for_what_they_are() -> None:
    """While others come and go, no call that is under way is taken for ended."""
    gate, stop = StepGate(), threading.Event()
    inside = 0
    lock = threading.Lock()

    def deep(depth: int) -> None:
        nonlocal inside
        if depth:
            deep(depth - 1)
            return
        with lock:
            inside += 1
        time.sleep(0.002)
        with lock:
            inside -= 1

    def work(depth: int) -> None:
        model = Slow(gate)
        model.act = lambda: deep(depth)
        while not stop.is_set():
            model()

    seen = []
    with ThreadPoolExecutor(4) as pool:
        for depth in (0, 5, 30, 60):
            pool.submit(work, depth)
        for _ in range(40):
            assert gate.shut(20)
            seen.append(inside)
            gate.open()
        stop.set()
    assert seen == [0] * 40


def test_what_fails_before_a_call_begins_does_not_end_the_step_around_it() -> None:
    gate = StepGate()
    model = Slow(gate)
    model.act = lambda: None

    def refuse(*_: object) -> None:
        raise ValueError("a hook of all modules")

    handle = torch.nn.modules.module.register_module_forward_pre_hook(refuse)
    try:
        with gate.step():
            with pytest.raises(ValueError, match="a hook of all modules"):
                model()
            assert not gate.shut(0)
    finally:
        handle.remove()
    assert gate.shut(0)
