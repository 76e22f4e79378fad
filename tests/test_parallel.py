"""Threads that share jobs."""

from __future__ import annotations

import threading
import time

import pytest

from pvc.parallel import Crew, Stop, run


def test_every_job_is_done_once() -> None:
    done: list[int] = []
    run(range(100), lambda job, _: done.append(job), 7)
    assert sorted(done) == list(range(100))
    run([], lambda job, _: done.append(job), 1)
    assert len(done) == 100
    run([1], lambda job, _: done.append(job), 0)  # at least one thread
    assert len(done) == 101


def test_one_failure_stops_the_others() -> None:
    begun: list[int] = []
    waiting = threading.Event()

    def work(job: int, stop: Stop) -> None:
        begun.append(job)
        if job == 1:
            waiting.wait()
            raise KeyError(job)
        waiting.set()
        while True:
            stop.check()
            time.sleep(0.001)

    with pytest.raises(KeyError):
        run(range(50), work, 2)
    assert begun == [0, 1]


def test_a_crew_has_as_many_threads_as_processors() -> None:
    assert Crew().threads >= 1
