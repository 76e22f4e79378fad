"""Commands for engines: what they write, what they refuse, and with which exit code."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_commands import fields
from tests.support.runner import Pvc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.live.conftest import EngineProcess, Starter


@pytest.fixture
def pvc(tiny: Path, engines: Path, tmp_path: Path) -> Pvc:
    return Pvc(shutil.copytree(tiny, tmp_path / "work"))


def engine_line(pvc: Pvc) -> str:
    [line] = [line for line in pvc("status").out.splitlines() if line.startswith("engine:")]
    return line.removeprefix("engine:").strip()


def test_the_story(pvc: Pvc, engine: EngineProcess) -> None:
    assert engine_line(pvc) == "chat running; nothing was checked out into it yet"
    done = pvc("checkout", "main", "--live")
    first, second, third = done.out.splitlines()
    assert first.startswith("engine chat: tree ")
    assert ", 0 B written in " in first
    assert " ms and verified, " in first
    assert (second.endswith("(on main)"), third) == (True, "base")
    assert engine_line(pvc).startswith("chat (main, ")
    assert engine_line(pvc).endswith("); clean, according to the engine")

    engine.ask("train")
    drifted = (
        "written to since (turned, embed.weight, up.weight and 2 more), see `pvc live verify chat`"
    )
    assert drifted in engine_line(pvc)
    differs = pvc("live", "verify")
    assert differs.code == 1
    assert "chat does not match main, tree " in differs.out
    assert ": 5 tensors differ; " in differs.out
    assert "\n  turned\n" in differs.out
    done = pvc("commit", "listening", "--live", "chat", "-m", "one step")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("listening: captured, ")
    assert pvc("live", "verify", "chat", "main").out.startswith("engine chat matches main, tree ")
    assert engine_line(pvc).startswith("chat (listening, ")

    assert "(detached; " in pvc("checkout", "HEAD~1", "--live").out
    assert pvc("live", "verify", "chat", "base").code == 0
    assert pvc("checkout", "main", "--live").code == 0
    assert pvc("live", "verify", "chat", "listening").code == 0
    listed = pvc("live", "ls").out
    assert listed.startswith("chat  Tiny  process ")
    assert listed.endswith(f"  main of {pvc.directory}\n")


def test_json(pvc: Pvc, engine: EngineProcess) -> None:
    found = fields(pvc.json("checkout", "main", "--live"), "checkout")
    assert (found["engine"], found["directory"], found["rescue"]) == ("chat", None, None)
    engine.ask("poke", names=["turned"])
    [seen] = fields(pvc.json("status"), "status")["engines"]
    assert set(seen) == {"name", "condition", "revision", "tree", "is_head", "detail", "touched"}
    assert (seen["condition"], seen["revision"]) == ("drifted", "main")
    assert seen["touched"] == ["turned"]
    found = fields(pvc("live", "verify", "--json").answer(), "live verify")
    assert (found["revision"], found["drifted"]) == ("main", ["turned"])
    found = fields(pvc.json("checkout", "main", "--live", "--force"), "checkout")
    assert set(found["rescue"]) == {"tag", "vector", "tree"}
    assert found["rescue"]["tag"] in pvc("tag").out
    engine.ask("train")
    found = fields(pvc.json("commit", "a", "--live"), "commit")
    assert found["engine"] == {"name": "chat", "clean": True}
    [seen] = fields(pvc.json("live", "ls"), "live ls")["engines"]
    assert set(seen) == {
        "name", "model", "pid", "tensors", "repository", "revision", "tree", "generation", "dirty",
        "torn", "held", "problem",
    }  # fmt: skip
    assert (seen["repository"], seen["revision"], seen["dirty"]) == (
        str(pvc.directory), "a", False,
    )  # fmt: skip


def test_drift_is_refused_and_force_keeps_it(pvc: Pvc, engine: EngineProcess) -> None:
    pvc("checkout", "main", "--live")
    engine.ask("poke", names=["down.weight", "turned", "up.bias"])
    refused = pvc("checkout", "base", "--live")
    assert (refused.code, refused.out) == (13, "")
    assert "down.weight, turned and up.bias differ." in refused.err
    assert "hint: Commit them with `pvc commit NAME --live chat`" in refused.err
    forced = pvc("checkout", "main", "--live", "--force")
    kept, written, *_ = forced.out.splitlines()
    assert written.startswith("engine chat: tree ")
    tag = kept.split("the tag ")[1].split()[0]
    assert pvc("checkout", tag, "--live").code == 0
    assert pvc("live", "verify").out.startswith(f"engine chat matches {tag}, tree ")


def test_which_engine(pvc: Pvc, engine: EngineProcess, start: Starter) -> None:
    second = start(name="other")
    second.answer()
    for words in (("checkout", "main", "--live"), ("commit", "a", "--live"), ("live", "verify")):
        refused = pvc(*words)
        assert refused.code == 2
        assert "Several engines run, and none was named: chat, other." in refused.err
    assert pvc("checkout", "main", "--live", "other").code == 0
    second.kill()
    assert "other (main, " in pvc("status").out
    assert "`pvc forget --live other` removes it" in pvc("status").out
    gone = pvc("checkout", "main", "--live", "other")
    assert gone.code == 13
    found = fields(pvc.json("forget", "--live", "other"), "forget")
    assert found["engine"] == "other"
    assert pvc("forget", "--live", "other").code == 14
    assert "other" not in pvc("status").out


@pytest.fixture
def interruptible() -> Iterator[None]:
    """As in a terminal: what a shell starts in the background ignores interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupt(engine: EngineProcess) -> threading.Thread:
    """A thread that interrupts this process once the engine, held in a step, was told to write."""

    def work() -> None:
        with engine.connect() as connection:
            while connection.state().holder is None:
                time.sleep(0.01)
        time.sleep(2)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def let_it_write(engine: EngineProcess) -> None:
    engine.ask("let_go")
    deadline = time.monotonic() + 60
    with engine.connect() as connection:
        while connection.state().holder is not None and time.monotonic() < deadline:
            time.sleep(0.05)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_after_the_engine_was_told(pvc: Pvc, engine: EngineProcess) -> None:
    """It writes all the same, and the command does not say that it does not."""
    engine.ask("train")
    pvc("commit", "listening", "--live")
    engine.ask("hold")
    thread = interrupt(engine)
    start = pvc.json("show", "HEAD~1")["commit"]["commit"][:10]
    stopped = pvc("checkout", "HEAD~1", "--live")
    thread.join()
    assert stopped.code == 130
    assert stopped.err == (
        "error: Interrupted; the engine chat was told to write already, and does so between its "
        "steps; `pvc status` says what it holds.\n"
    )
    assert pvc("log").out.splitlines()[0].endswith("listening: captured")
    let_it_write(engine)
    assert engine_line(pvc).startswith(f"chat ({start}, ")
    assert "not HEAD's tree; clean" in engine_line(pvc)
    assert pvc("checkout", "HEAD~1", "--live").code == 0
    assert pvc("live", "verify", "chat", "base").code == 0


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_after_the_commit(pvc: Pvc, engine: EngineProcess) -> None:
    """The commit stands; only the engine has not heard of it."""
    engine.ask("train")
    engine.ask("hold")
    thread = interrupt(engine)
    done = pvc("commit", "listening", "--live")
    thread.join()
    assert done.code == 0
    assert "the engine chat did not record this commit" in done.err
    assert pvc("log").out.splitlines()[0].endswith("listening: captured")
    assert engine_line(pvc).startswith("chat (listening, ")
    let_it_write(engine)
    assert pvc("checkout", "HEAD~1", "--live").code == 0


def test_a_revision_that_was_taken_for_an_engine(pvc: Pvc) -> None:
    done = pvc("checkout", "--live", "main")
    assert done.code == 2
    meant = "main was read as an engine; did you mean `pvc checkout main --live`?"
    assert f"Missing argument 'REV'. {meant}" in done.err


def test_no_engine(pvc: Pvc) -> None:
    refused = pvc("checkout", "main", "--live")
    assert refused.code == 13
    assert refused.err.splitlines()[0] == "error: No engine runs."
    assert pvc("live", "ls").out == "no engine is running\n"
    assert "engine:" not in pvc("status").out


@pytest.mark.parametrize(
    "words",
    [
        ("checkout", "main", "--to", "x", "--live"),
        ("checkout", "main", "--force"),
        ("commit", "a", "--from", "x", "--live"),
        ("commit", "a"),
        ("commit", "--live", "chat", "-m", "x"),
        ("forget",),
        ("forget", "x", "--live", "y"),
    ],
)
def test_usage(pvc: Pvc, words: tuple[str, ...]) -> None:
    assert pvc(*words).code == 2


def test_a_folder_that_others_can_reach(pvc: Pvc, engines: Path) -> None:
    engines.mkdir(mode=0o755)
    assert pvc("live", "ls").code == 13
    assert pvc("checkout", "main", "--live").code == 13
    assert "cannot be trusted" in engine_line(pvc)


def test_another_model_and_another_repository(
    pvc: Pvc, engine: EngineProcess, start: Starter, tiny: Path, tmp_path: Path
) -> None:
    other = start("other", name="small")
    other.answer()
    refused = pvc("checkout", "main", "--live", "small")
    assert refused.code == 13
    assert "does not run the model of this tree" in refused.err
    pvc("checkout", "main", "--live", "chat")
    second = Pvc(shutil.copytree(tiny, tmp_path / "second"))
    refused = second("checkout", "main", "--live", "chat")
    assert refused.code == 13
    assert f"of the repository {pvc.directory}, not of {second.directory}." in refused.err
    assert "--force` to take it over" in refused.err
    assert second("checkout", "main", "--live", "chat", "--force").code == 0
    assert "chat has main, " in pvc("status").out


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_an_engine_that_has_ended_is_gone(
    pvc: Pvc, engine: EngineProcess, how: signal.Signals
) -> None:
    """Also while nobody has asked how it ended."""
    pvc("checkout", "main", "--live")
    engine.process.send_signal(how)
    os.waitid(os.P_PID, engine.process.pid, os.WEXITED | os.WNOWAIT)
    for _ in range(2):
        assert engine_line(pvc).endswith("has ended; `pvc forget --live chat` removes it here")
        [seen] = pvc.json("status")["engines"]
        assert (seen["condition"], seen["revision"]) == ("gone", "main")
    engine.process.wait()


def restarted(engine: EngineProcess, start: Starter) -> EngineProcess:
    """The engine ends, and another one of its name starts with the weights of the base."""
    engine.kill()
    again = start()
    again.answer()
    return again


def test_a_restarted_engine_is_brought_back(
    pvc: Pvc, engine: EngineProcess, start: Starter
) -> None:
    engine.ask("train")
    pvc("commit", "listening", "--live")
    tree = pvc.json("show", "main")["tree"]
    again = restarted(engine, start)
    assert engine_line(pvc).endswith(
        "has the weights it loaded; `pvc live restore chat` brings it back"
    )
    seen = pvc("live", "verify", "--json")
    assert seen.code == 1
    found = fields(seen.answer(), "live verify")
    assert (found["revision"], found["tree"]) == ("listening", tree)
    assert found["held"]["revision"] == "base"
    text = pvc("live", "verify").out
    assert text.startswith("engine chat has base, tree ")
    assert "; `pvc live restore chat` brings listening back; " in text
    assert text.count("\n") == 1
    done = fields(pvc.json("live", "restore"), "live restore")
    assert (done["tree"], done["rescue"]) == (tree, None)
    assert done["written_bytes"] > 0
    assert pvc("live", "verify").code == 0
    assert pvc("live", "verify", "chat", "main").code == 0
    assert "; clean, according to the engine" in engine_line(pvc)
    assert pvc.json("live", "restore", "chat")["written_bytes"] == 0
    pvc("checkout", "base", "--live")
    held = pvc("live", "verify", "chat", "main")
    assert (held.code, "brings" in held.out) == (1, False)  # it has what is recorded
    pvc("checkout", "main", "--live")
    again.ask("train")  # which is in no commit
    refused = pvc("live", "restore")
    assert refused.code == 13
    assert "hint: Commit them with" in refused.err
    forced = pvc("live", "restore", "--force")
    assert forced.code == 0
    assert "kept what it held at the tag rescue/chat-" in forced.out
    assert pvc("live", "verify").code == 0


def test_what_was_computed_is_brought_back_too(
    pvc: Pvc, engine: EngineProcess, start: Starter
) -> None:
    """Whatever the record's name means by then."""
    engine.ask("train")
    pvc("commit", "listening", "--live")
    pvc("scale", "listening", "0.5")
    pvc("checkout", "main", "--live")
    tree = pvc.json("show", "main")["tree"]
    pvc("scale", "listening", "0.25")
    restarted(engine, start)
    done = pvc.json("live", "restore", "chat")
    assert (done["revision"], done["tree"]) == ("main", tree)
    assert pvc("live", "verify", "chat", "main~1").code == 0


def test_what_cannot_be_brought_back(pvc: Pvc, engine: EngineProcess, start: Starter) -> None:
    unknown = pvc("live", "restore", "chat")
    assert unknown.code == 14
    assert "hint: Use `pvc checkout REV --live ENGINE`." in unknown.err
    pvc("checkout", "main", "--live")
    engine.kill()
    assert pvc("live", "restore").code == 13
    start(kind="other").answer()
    assert pvc("live", "restore").code == 13
    assert "engines:     chat runs another model, see `pvc live ls`\n" in pvc("status").out


def test_the_engine_that_is_known_is_meant(pvc: Pvc, engine: EngineProcess, start: Starter) -> None:
    """If none is named, strangers do not count."""
    for name in ("alien", "stranger"):
        start(name=name, kind="other").answer()
    assert pvc("checkout", "main", "--live").code == 0
    lines = pvc("status").out.splitlines()
    assert [line for line in lines if line.startswith("engine")] == [
        line for line in lines if line.startswith("engine:      chat (main")
    ] + ["engines:     alien and stranger run other models, see `pvc live ls`"]
    start(name="twin").answer()
    assert pvc("live", "verify").out.startswith("engine chat matches ")  # it has a record
    engine.kill()
    lost = pvc("checkout", "base", "--live")
    assert lost.code == 2
    assert lost.err.startswith(
        "error: No engine of this repository runs (chat); running: alien, stranger, twin."
    )
    engine = start()
    engine.answer()
    assert pvc("checkout", "main", "--live").code == 0
    assert pvc("forget", "--live", "chat").code == 0
    several = pvc("checkout", "main", "--live")
    assert several.code == 2
    assert "chat, twin." in several.err
    assert pvc("checkout", "main", "--live", "twim").err.startswith(
        "error: No engine called twim runs; running: alien, chat, stranger, twin."
    )


def test_a_repository_that_was_moved_keeps_its_engine(
    pvc: Pvc, engine: EngineProcess, tmp_path: Path
) -> None:
    """The engine knows it by its old path; a copy has no such claim."""
    engine.ask("train")
    pvc("commit", "listening", "--live")
    copy = Pvc(shutil.copytree(pvc.directory, tmp_path / "copy"))
    moved = Pvc(pvc.directory.rename(tmp_path / "moved"))
    assert copy("checkout", "base", "--live", "chat").code == 13
    assert engine_line(moved).startswith("chat (listening, ")
    engine.ask("train")
    assert moved("commit", "listening", "--live").code == 0
    assert moved("checkout", "base", "--live").code == 0
    assert moved("live", "verify", "chat", "base").code == 0
    assert engine_line(moved).startswith("chat (base, ")
