"""Terminals, pipes and colours."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pvc.cli.output import Output
from pvc.cli.progress import LINE_EVERY_SECONDS, SHOWN_AFTER_SECONDS, Reporter, crew
from tests.support.runner import PVC, Pvc, environment, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESCAPE = "\x1b"
LONG = "a long message " * 40


@contextlib.contextmanager
def terminal() -> Iterator[tuple[int, int]]:
    ours, theirs = pty.openpty()
    try:
        yield ours, theirs
    finally:
        for fd in (ours, theirs):
            with contextlib.suppress(OSError):
                os.close(fd)


def on_terminal(*words: str, cwd: Path, **changes: str) -> str:
    """What a command writes to a terminal."""
    with terminal() as (ours, theirs):
        process = subprocess.Popen(
            [*PVC, *words], cwd=cwd, env=environment({"PAGER": "cat", **changes}), stdin=theirs,
            stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        text = read(ours)
        assert process.wait(60) in {0, 14}
    return text


def read(fd: int) -> str:
    found = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while data := os.read(fd, 1 << 16):
            found += data
    return found.decode()


# Colours


def test_colours_on_a_terminal_only(work: Path) -> None:
    assert ESCAPE in on_terminal("log", "-n", "2", cwd=work)
    assert ESCAPE in on_terminal("log", cwd=work, LINES="4")  # by the pager
    assert ESCAPE in on_terminal("show", "zzz", cwd=work)
    assert ESCAPE not in spawn("log", cwd=work).out
    assert ESCAPE not in spawn("show", "zzz", cwd=work).err


def test_colours_by_the_environment(work: Path) -> None:
    for changes in ({"TERM": "dumb"}, {"NO_COLOR": "1", "FORCE_COLOR": "1"}):
        assert ESCAPE not in on_terminal("log", "-n", "1", cwd=work, **changes)
        assert ESCAPE not in on_terminal("show", "zzz", cwd=work, **changes)
    assert ESCAPE in spawn("log", cwd=work, env={"FORCE_COLOR": "1"}).out
    assert ESCAPE in spawn("show", "zzz", cwd=work, env={"FORCE_COLOR": "1"}).err
    assert ESCAPE not in spawn("log", "--json", cwd=work, env={"FORCE_COLOR": "1"}).out


def test_nothing_is_cut(work: Path, sources: dict[str, Path]) -> None:
    pvc = Pvc(work)
    words = ("commit", "x", "--from", sources["listening"], "--onto", "base", "--aside")
    assert pvc(*words, "-m", LONG).code == 0
    narrow = {"COLUMNS": "20"}
    assert LONG.strip() in spawn("log", cwd=work, env=narrow).out
    assert LONG.strip() in spawn("show", "x", cwd=work, env=narrow).out
    rows = spawn("diff", "--by", "tensor", cwd=work, env=narrow).out
    assert "model.layers.1.self_attn.q_proj.weight  " in rows


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1:strict"])
def test_any_text_can_be_written(work: Path, encoding: str) -> None:
    odd = os.fsdecode(b"s\xff-\xc5\xbc")
    env = {"PYTHONIOENCODING": encoding}
    done = spawn("checkout", "main", "--to", odd, "--json", cwd=work, env=env)
    assert done.code == 0
    assert done.answer()["directory"] == str(work / odd)
    assert r"s\udcff-" in spawn("status", cwd=work, env=env).out


# Pipes


def test_a_reader_that_goes_away(work: Path) -> None:
    for words in (("log",), ("status", "--json"), ("--help",)):
        with subprocess.Popen(
            [*PVC, *words], cwd=work, env=environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.wait(60) == 141
            assert process.stderr.read() == ""


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_streams_that_were_closed(work: Path, tmp_path: Path, closed: str) -> None:
    for words, code in (("checkout v1 --to out", 0), ("show zzz", 14)):
        line = f"exec {' '.join(PVC)} {words} {closed}"
        done = subprocess.run(
            ["/bin/sh", "-c", line], cwd=work, env=environment(), check=False, capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert "mistake" not in done.stderr
    assert Pvc(work)("fsck").code == 0


# Progress


class Clock:
    """Time that passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


def test_short_work_is_not_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    for on in (True, False):
        with Reporter(terminal=on) as reporter:
            reporter.start("Reading", 100)
            clock.now += SHOWN_AFTER_SECONDS * 0.9
            reporter.advance(50)
    assert capsys.readouterr() == ("", "")


def test_a_line_now_and_then_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock(monkeypatch)
    with Reporter(terminal=False) as reporter:
        reporter.start("Reading", 3_000_000)
        for _ in range(30):
            clock.now += LINE_EVERY_SECONDS / 10
            reporter.advance(100_000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) in {2, 3}
    assert lines[0] in {"Reading: 1 MB of 3 MB", "Reading: 1.1 MB of 3 MB"}


def test_nothing_is_reported_where_it_was_not_asked_for() -> None:
    for output in (Output(quiet=True), Output(as_json=True)):
        with crew(output, 1) as workers:
            assert not isinstance(workers.progress, Reporter)
    with crew(Output(), 1) as workers:
        assert isinstance(workers.progress, Reporter)


BAR = """
import sys, time
from pvc.cli.output import terminal
from pvc.cli.progress import Reporter
with Reporter(terminal=terminal(sys.stderr)) as reporter:
    reporter.start("Reading", 3_000_000)
    for _ in range(30):
        time.sleep(0.05)
        reporter.advance(100_000)
print("done")
"""


@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_a_bar_on_a_terminal(term: str) -> None:
    with terminal() as (ours, theirs):
        process = subprocess.Popen(
            [sys.executable, "-c", BAR], env=environment({"TERM": term}), stderr=theirs,
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.close(theirs)
        text = read(ours)
        assert process.communicate(timeout=60)[0] == "done\n"
    assert ("Reading" in text) == (term == "xterm")
    assert (ESCAPE in text) == (term == "xterm")
