"""Steps and commits exclude each other, and neither starves."""

from __future__ import annotations

import threading
import time

from pvc.live.gate import Gate


def test_a_commit_is_not_kept_waiting_by_steps_that_never_pause() -> None:
    gate, stop = Gate(), threading.Event()
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
    gate, shut = Gate(), threading.Event()

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
    gate = Gate()
    with gate.step():
        assert not gate.shut(0.01)
    with gate.step():
        pass
    assert gate.shut(0)
    assert gate.shut(0)  # once more, to repair what is torn
    gate.open()


def test_an_end_without_a_beginning_has_no_effect() -> None:
    gate = Gate()
    gate.leave()
    with gate.step():
        assert not gate.shut(0)
    assert gate.shut(0)
