"""Processes that die, are interrupted, or find the disk full, at a drawn step of an operation.

Run by `test_kills` as a process of its own, because it forks: a process that has threads must not,
so nothing here calls pvc itself except in children.  A step is a call that changes the disk, or a
git command that may.  The steps of an operation are counted first; then one trial after the other
starts from a fresh copy of the same state.

    python -m tests.repo.crash [--seed N] [--torture]       everything that `test_kills` does
    python -m tests.repo.crash --only "mv / kill before / 17 / 0.0"     one trial again
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import itertools
import os
import pickle
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import git
import numpy as np

from pvc.codec import BaseBlock, decode, encode, measure, same
from pvc.repo import git as git_module
from pvc.repo.commit import Wish, commit
from pvc.repo.fsck import fsck
from pvc.repo.git import NoRepositoryError
from pvc.repo.journal import JournalFile
from pvc.repo.recovery import recover
from pvc.repo.state import NotPvcError
from pvc.repo.status import status
from pvc_store.kinds import BYTES, KIND_BY_NAME
from tests.repo.scenes import (
    CREW,
    SCENES,
    Place,
    Scene,
    Snapshot,
    leftovers,
    make_models,
    make_templates,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DISK_CALLS = (
    "open", "write", "pwrite", "pwritev", "ftruncate", "posix_fallocate", "fsync", "fdatasync",
    "replace", "rename", "link", "symlink", "unlink", "remove", "rmdir", "mkdir",
)  # fmt: skip
READING_GIT = {
    "cat-file", "diff", "for-each-ref", "fsck", "log", "ls-tree", "rev-list", "rev-parse",
    "show-ref", "status", "symbolic-ref", "var", "version",
}  # fmt: skip
DIES = ("kill before", "kill after", "kill within", "kill git and all", "kill git", "kill later")
TWICE = "kill twice"
INTERRUPTS = ("interrupt before", "interrupt after", "interrupt git")
FAULTS = ("disk full", "disk broken")
CAN_FAIL = ("open", "pwrite", "fsync", "mkdir", "replace", "posix_fallocate", "ftruncate")
LONGEST_GIT = 0.006
CHILD_SECONDS = 60
SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        scene: the operation.
        what: what happens to it.
        step: at which step, counted from 0.
        number: how long after that step, in seconds; or the step of the recovery.
    """

    scene: str
    what: str
    step: int
    number: float

    def __str__(self) -> str:
        return f"{self.scene} / {self.what} / {self.step} / {self.number}"

    @classmethod
    def parse(cls, text: str) -> Trial:
        scene, what, step, number = text.split(" / ")
        return cls(scene, what, int(step), float(number))


class Steps:
    """Counts the steps of this process, and lets something happen at one of them.

    Args:
        home: only what lies below it counts.
        at: the step.
        what: what happens; see `Trial`.
        ready: a descriptor to say that the step has come.
    """

    def __init__(self, home: Path, at: int = -1, what: str = "", ready: int = -1) -> None:
        self.home = os.fspath(home)
        self.at = at
        self.what = what
        self.ready = ready
        self.labels: list[str] = []
        self._count = itertools.count()
        self._write = os.write
        for name in DISK_CALLS:
            setattr(os, name, partial(self._disk, name, getattr(os, name)))
        execute = git.cmd.Git.execute
        steps = self

        def observed(self: git.cmd.Git, command: Any, *rest: Any, **named: Any) -> Any:
            words = [word for word in command[1:] if not word.startswith("-")]
            if not words or words[0] in READING_GIT:
                return execute(self, command, *rest, **named)
            call = partial(execute, self, command, *rest, **named)
            return steps.step(f"git {' '.join(words[:3])}", call, ())

        git.cmd.Git.execute = observed

    def _disk(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        path = self._path(arguments[0])
        reads = name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC)
        if reads or not (path.startswith(self.home) or "dir_fd" in named):
            return call(*arguments, **named)
        label = f"{name} {path.removeprefix(self.home)}"
        return self.step(label, partial(call, *arguments, **named), arguments)

    def _path(self, path: Any) -> str:
        return os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.fspath(path)

    def step(self, label: str, call: Callable[[], Any], arguments: tuple[Any, ...]) -> Any:
        number = next(self._count)
        self.labels.append(label)
        if number != self.at:
            return call()
        self._before(label, call, arguments)
        result = call()
        if self.what in {"kill after", TWICE}:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "interrupt after":
            os.kill(os.getpid(), signal.SIGINT)
        return result

    def _before(self, label: str, call: Callable[[], Any], arguments: tuple[Any, ...]) -> None:
        if self.what == "kill before":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "kill within":
            if label.startswith("pwrite"):
                fd, data, offset = arguments
                os.pwritev(fd, [memoryview(data).cast("B")[: len(data) // 2]], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.what == "interrupt before":
            os.kill(os.getpid(), signal.SIGINT)
        elif self.what in FAULTS:
            code = errno.ENOSPC if self.what == "disk full" else errno.EIO
            raise OSError(code, os.strerror(code), label)
        elif self.what in {"kill git and all", "kill git", "kill later", "interrupt git"}:
            self._write(self.ready, b"!")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        signal: what killed it, or 0.
        value: what its function returned, if it did.
        error: what it raised, if it did.
        labels: its steps.
    """

    signal: int
    value: Any = None
    error: str = ""
    labels: tuple[str, ...] = ()


def become_reaper() -> None:
    """Let processes whose parents die become children of this one, so that it can wait for all."""
    ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)


def child(
    work: Callable[[], Any], steps: Callable[[int], Steps] | None = None,
    when_ready: Callable[[int], None] | None = None,
) -> Ended:  # fmt: skip
    """Run a function in a child, and wait for it and for all that it started."""
    readable, writable = os.pipe()
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)
        signal.alarm(CHILD_SECONDS)
        write = os.write
        watched = steps(writable) if steps is not None else None
        try:
            value, error = work(), ""
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        except BaseException:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            value, error = None, traceback.format_exc()
        labels = tuple(watched.labels) if watched is not None else ()
        data = pickle.dumps(Ended(0, value, error, labels))
        while data:
            data = data[write(writable, data) :]
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        data = pipe.read(1)
        if data == b"!" and when_ready is not None:
            when_ready(process)
            data = b""
        data += pipe.read()
    _, code = os.waitpid(process, 0)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    if os.WIFSIGNALED(code):
        return Ended(os.WTERMSIG(code))
    return pickle.loads(data)


def warm() -> None:
    """Load the compiled loops, so that no child has to."""
    kind, random_ = KIND_BY_NAME["BF16"], np.random.default_rng(0)
    base, raw = (random_.integers(0, 256, 4096, np.uint8) for _ in range(2))
    raw[:4000] = base[:4000]
    out = np.empty_like(raw)
    first = encode(base, kind)
    decode(first, None, out)
    second = encode(raw, kind, BaseBlock(base, first.form.key, kind))
    decode(second, base, out)
    decode(encode(np.zeros(4096, np.uint8), BYTES), None, out)
    measure(raw, kind, base, kind)
    same(raw, base)


@dataclass(frozen=True)
class Known:
    """What is known of a scene.

    Attributes:
        scene: the operation.
        old: the stage before it.
        new: the stage after it.
        part: the stage after a part of it, if that is a good state; else as before.
        labels: its steps.
        seconds: how long it takes.
    """

    scene: Scene
    old: Snapshot
    new: Snapshot
    part: Snapshot
    labels: tuple[str, ...]
    seconds: float


@dataclass
class Driver:
    """Runs trials in one folder.

    Attributes:
        place: the folders.
        known: what is known of the scenes.
        models: digests of the checkpoints that no trial may touch.
        outcomes: how many trials ended how.
        problems: what is wrong.
    """

    place: Place
    known: dict[str, Known] = field(default_factory=dict)
    models: str = ""
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        place = self.place
        _done(child(lambda: (make_models(place), make_templates(place))))
        for scene in SCENES:
            place.restore(scene.start)
            old = _done(child(partial(snapshot, place))).value
            start = time.monotonic()
            ran = _done(child(partial(scene.run, place), lambda _: Steps(place.stage)))
            seconds = time.monotonic() - start
            new = _done(child(partial(snapshot, place))).value
            if not new.differences(old) or leftovers(place):
                raise AssertionError(f"{scene.name} does nothing, or leaves {leftovers(place)}")
            part = old
            if scene.part is not None:
                place.restore(scene.start)
                _done(child(partial(scene.part, place)))
                part = _done(child(partial(snapshot, place))).value
            self.known[scene.name] = Known(scene, old, new, part, ran.labels, seconds)

    def run(self, trial: Trial) -> None:
        known = self.known[trial.scene]
        self.place.restore(known.scene.start)
        ended = self._operation(trial, known)
        found: list[str] = []
        if trial.what == TWICE:
            self._recovery(trial)
        lives = not ended.signal
        if lives and trial.what in INTERRUPTS + FAULTS:
            found += self._ended_well(trial, ended)
        looked = child(partial(examine, self.place, known, trial))
        if looked.signal or looked.error:
            found.append(looked.error or f"examining it ended by signal {looked.signal}")
        else:
            side, problems = looked.value
            found += problems
            self.outcomes[f"{trial.what}: {side}"] += 1
        if found:
            label = known.labels[trial.step] if trial.step < len(known.labels) else "?"
            self.problems.append("\n    ".join([f"{trial} ({label})", *found]))

    def _operation(self, trial: Trial, known: Known) -> Ended:
        at, what, place = trial.step, trial.what, self.place

        def when_ready(process: int) -> None:
            time.sleep(trial.number)
            with contextlib.suppress(ProcessLookupError):
                if what == "kill later":
                    os.kill(process, signal.SIGKILL)
                elif what == "kill git":
                    for each in git_children(process):
                        os.kill(each, signal.SIGKILL)
                else:
                    by = signal.SIGINT if what == "interrupt git" else signal.SIGKILL
                    os.killpg(process, by)

        steps = lambda ready: Steps(place.stage, at, what, ready)  # noqa: E731
        return child(partial(known.scene.run, place), steps, when_ready)

    def _recovery(self, trial: Trial) -> None:
        at = int(trial.number)
        ended = child(
            partial(settle, self.place),
            lambda _: Steps(self.place.stage, at, "kill before"),
        )
        self.outcomes["recoveries killed"] += bool(ended.signal)

    def _ended_well(self, trial: Trial, ended: Ended) -> list[str]:
        journal = self.place.work / ".git" / "pvc" / "journal.json"
        return [f"a journal is left after: {ended.error}"] if journal.exists() else []


def git_children(process: int) -> list[int]:
    """Git commands that a process has started, but for those that it keeps to read objects."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for number in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"git") and b"cat-file" not in words:
                    found.append(int(number))
    return found


def _done(ended: Ended) -> Ended:
    if ended.signal or ended.error:
        raise AssertionError(ended)
    return ended


def settle(place: Place) -> None:
    """What every command that changes something does first."""
    with contextlib.suppress(NoRepositoryError), place.open() as repository, repository.lock():
        recover(repository, CREW)


def examine(place: Place, known: Known, trial: Trial) -> tuple[str, list[str]]:
    """Use the stage after a crash: which state it is in, and what is wrong with it."""
    read(place)
    settle(place)
    found = snapshot(place)
    from_old, from_new = found.differences(known.old), found.differences(known.new)
    if from_old and from_new and found.differences(known.part):
        return "neither", [f"before: {from_old}", f"afterwards: {from_new}"]
    problems = check(place, found)
    if from_new:
        known.scene.run(place)
        again = snapshot(place).content().differences(known.new.content())
        problems += [f"the same again leads elsewhere: {line}" for line in again]
    else:
        write_more(place)
    problems += [f"left over: {path}" for path in leftovers(place)]
    side = "new" if not from_new else "part" if from_old else "old"
    return side, problems


def read(place: Place) -> None:
    """Commands that only read work at once, if there is something to read."""
    with contextlib.suppress(NoRepositoryError, NotPvcError), place.open() as repository:
        journal = JournalFile(repository.folder).read()
        if status(repository).interrupted != (journal is not None):
            raise AssertionError("status does not tell that an operation was interrupted")


def check(place: Place, found: Snapshot) -> list[str]:
    """What is wrong with a repository, if there is one."""
    if not found.head[1] or "work/pvc.toml" not in found.files:
        return []
    with place.open() as repository:
        findings = [f"fsck: {finding}" for finding in fsck(repository, CREW).findings]
        seen = status(repository)
    if seen.interrupted or seen.unfinished:
        findings.append("status still says that something is not finished")
    return findings


def write_more(place: Place) -> None:
    """Another operation."""
    with place.open() as repository:
        if repository.edited():
            raise AssertionError(f"edited: {repository.edited()}")
        if repository.git.branch() is None:
            repository.git.run("checkout", "--quiet", "-b", "anew")
        wish = Wish("another", place.model("another"), aside=True)
        commit(repository, wish, CREW)


# Drawing

SHARES = {
    "kill before": 40, "kill after": 40, "kill within": 15, "kill git and all": 20,
    "kill git": 10, "kill later": 10, TWICE: 15,
    "interrupt before": 25, "interrupt after": 25, "interrupt git": 10,
    "disk full": 30, "disk broken": 30,
}  # fmt: skip
"""How many trials of each sort are in a short run."""


def draw(known: dict[str, Known], seed: int, times: int) -> list[Trial]:
    """Trials, drawn so that every operation gets its share of every sort."""
    chosen = random.Random(seed)
    trials = []
    for what, count in SHARES.items():
        suitable = {name: suitable_steps(what, each.labels) for name, each in known.items()}
        names = [name for name, steps in suitable.items() if steps]
        chosen.shuffle(names)
        for name in itertools.islice(itertools.cycle(names), count * times):
            longest = known[name].seconds if what == "kill later" else LONGEST_GIT
            number = float(chosen.randrange(30)) if what == TWICE else chosen.uniform(0, longest)
            trials.append(Trial(name, what, chosen.choice(suitable[name]), number))
    return trials


def suitable_steps(what: str, labels: tuple[str, ...]) -> list[int]:
    """The steps at which this can happen."""
    if what == "kill later":
        return [0]
    journal = next((at for at, label in enumerate(labels) if "journal" in label), len(labels))

    def suits(at: int) -> bool:
        if "git" in what.split():
            return labels[at].startswith("git ")
        if what == "kill within":
            return labels[at].startswith("pwrite ")
        if what == TWICE:
            return at > journal
        return what not in FAULTS or labels[at].startswith(CAN_FAIL)

    return [at for at in range(len(labels)) if suits(at)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", type=Trial.parse)
    parser.add_argument("--steps", action="store_true")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    home = Path(tempfile.mkdtemp(prefix="pvc-kills-", dir=memory if memory.is_dir() else None))
    try:
        git_module.LOCK_SECONDS = 0.01
        become_reaper()
        warm()
        driver = Driver(Place(home))
        driver.prepare()
        if options.steps:
            for known in driver.known.values():
                print(f"{known.scene.name}: {len(known.labels)} steps, {known.seconds:.3f} s")
                print(
                    "   ", "\n    ".join(f"{at} {label}" for at, label in enumerate(known.labels))
                )
        trials = [options.only] if options.only else draw(driver.known, options.seed, options.times)
        for trial in trials:
            driver.run(trial)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print({known.scene.name: len(known.labels) for known in driver.known.values()})
    print(dict(driver.outcomes))
    for problem in driver.problems:
        print(problem, file=sys.stderr)
    sys.exit(bool(driver.problems))


if __name__ == "__main__":
    main()
