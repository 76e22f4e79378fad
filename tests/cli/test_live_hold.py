"""`pvc live hold`: others wait or are refused, and nothing stays behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.runner import Done

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import EngineProcess

ELSEWHERE = """
import pathlib, sys
import pvc.live.announced.folder as folder
found = pathlib.Path(sys.argv.pop(1))
folder.default_path = lambda: found
from pvc.cli import main
main()
"""
"""`pvc` as a process of its own, with a folder of engines."""

WAITING = "import sys, time; print('runs', flush=True); time.sleep(60)"


class Elsewhere:
    """Runs `pvc` as processes of their own."""

    def __init__(self, engines: Path, work: Path) -> None:
        self.words = [sys.executable, "-c", ELSEWHERE, str(engines)]
        self.work = work

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.words, *words], cwd=self.work, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, **options,
        )  # fmt: skip

    def __call__(self, *words: str) -> Done:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        return Done(process.returncode, out, err)


@pytest.fixture
def elsewhere(
    engines: Path,
    engine: EngineProcess,
    tiny: Path,
    tmp_path: Path,
) -> Elsewhere:
    subprocess.run(["cp", "-a", str(tiny), str(tmp_path / "work")], check=True)
    found = Elsewhere(engines, tmp_path / "work")
    engine.ask("train")
    done = found("commit", "listening", "--live", "chat")
    assert done.code == 0, done.err
    return found


@pytest.fixture
def holder(elsewhere: Elsewhere) -> Iterator[subprocess.Popen[str]]:
    words = ("live", "hold", "chat", "--", sys.executable, "-c", WAITING)
    with elsewhere.start(*words, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "runs\n"
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def is_free(elsewhere: Elsewhere) -> bool:
    return elsewhere("--wait", "0", "live", "hold", "chat", "--", "true").code == 0


def test_others_are_refused_and_told_by_whom(
    elsewhere: Elsewhere, holder: subprocess.Popen[str]
) -> None:
    (elsewhere.work / "note").write_text("")
    for words in (
        ("--wait", "0", "checkout", "base", "--live", "chat", "--keep-head"),
        ("--wait", "1", "live", "hold", "chat", "--", "true"),
    ):
        refused = elsewhere(*words)
        assert refused.code == 13
        assert f"Process {holder.pid} ({sys.executable} -c" in refused.err
        assert "holds its weights as they are" in refused.err
        assert "hint: Wait until it has finished" in refused.err
    assert elsewhere("live", "verify", "chat").code == 0  # reading goes on
    assert elsewhere("tag", "free").code == 0  # nobody waits with the repository's lock
    assert f"held by process {holder.pid}" in elsewhere("live", "ls").out
    (listed,) = json.loads(elsewhere("live", "ls", "--json").out)["engines"]
    assert listed["held"].startswith(f"process {holder.pid} (")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_its_process(
    elsewhere: Elsewhere, holder: subprocess.Popen[str], number: signal.Signals
) -> None:
    """An interrupt goes to all processes of a terminal."""
    if number == signal.SIGINT:
        os.killpg(holder.pid, number)
    else:
        holder.send_signal(number)
    _, err = holder.communicate(timeout=30) if number != signal.SIGKILL else (holder.wait(), "")
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    assert holder.returncode in {expected[number], 1}
    assert "pvc" not in err
    deadline = time.monotonic() + 10
    while not is_free(elsewhere) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert is_free(elsewhere)


def test_the_command_may_change_the_engine(elsewhere: Elsewhere) -> None:
    inner = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    checkout = (*elsewhere.words, "checkout", "base", "--live", "chat", "--keep-head")
    done = elsewhere("live", "hold", "chat", "--", sys.executable, "-c", inner, *checkout)
    assert done.code == 0, done.err
    assert "chat has base, " in done.err
    assert elsewhere("live", "verify", "chat", "base").code == 0


def test_who_waits_does_not_keep_the_holder_out(elsewhere: Elsewhere) -> None:
    """The holder's own command needs the repository, too."""
    own = " ".join(map(shlex.quote, (*elsewhere.words, "checkout", "base", "--live", "chat")))
    holder = elsewhere.start("live", "hold", "chat", "--", "sh", "-c", f"sleep 2; {own}")
    time.sleep(1)
    waiting = elsewhere("--wait", "30", "checkout", "main", "--live", "chat")
    out, err = holder.communicate()
    assert (holder.returncode, waiting.code) == (0, 0), (out, err, waiting)


def test_a_hold_within_a_hold(elsewhere: Elsewhere) -> None:
    inner = (*elsewhere.words, "live", "hold", "chat", "--", "echo", "inner")
    done = elsewhere("live", "hold", "chat", "--", "sh", "-c", '"$@"; sleep 1', "sh", *inner)
    assert (done.code, done.out) == (0, "inner\n"), done.err
    assert is_free(elsewhere)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("sh", "-c", "exit 7"), 7), (("true",), 0), (("no-such-command",), 127),
        (("/",), 126), (("sh", "-c", "kill -9 $$"), 137),
    ],
)  # fmt: skip
def test_the_exit_status_is_the_commands(
    elsewhere: Elsewhere, words: tuple[str, ...], code: int
) -> None:
    done = elsewhere("live", "hold", "chat", "--", *words)
    assert done.code == code
    assert "Traceback" not in done.err


def test_the_command_knows_what_is_held(elsewhere: Elsewhere) -> None:
    shown = elsewhere("live", "hold", "chat", "--", "sh", "-c", "echo $PVC_TREE $PVC_GENERATION")
    (listed,) = json.loads(elsewhere("live", "ls", "--json").out)["engines"]
    assert shown.code == 0, shown.err
    assert shown.out.split() == [listed["tree"], str(listed["generation"])]


def test_it_waits_as_long_as_asked(elsewhere: Elsewhere) -> None:
    first = elsewhere.start("live", "hold", "chat", "--", "sleep", "2")
    time.sleep(1)
    second = elsewhere("--wait", "20", "checkout", "base", "--live", "chat")
    assert second.code == 0
    assert "holds its weights as they are" in second.err
    third = elsewhere("live", "hold", "chat", "--", "echo", "mine")
    assert (third.code, third.out, third.err) == (0, "mine\n", "")
    first.communicate()


def test_writes_of_the_engine_itself_are_told(
    elsewhere: Elsewhere,
    engine: EngineProcess,
) -> None:
    process = elsewhere.start("live", "hold", "chat", "--", "sleep", "3")
    time.sleep(1.5)
    engine.ask("train")
    _, err = process.communicate()
    assert process.returncode == 0
    assert "warning: the process of chat itself wrote to its weights meanwhile" in err


def test_mistakes(elsewhere: Elsewhere) -> None:
    assert elsewhere("live", "hold", "chat").code == 2
    assert elsewhere("live", "hold").code == 2
    assert elsewhere("live", "hold", "chap", "--", "true").code == 13
