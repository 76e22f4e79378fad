"""Operations that are killed, interrupted, or refused by the disk, one trial after the other.

Run by `test_kills` as a process of its own, because it forks: a process with threads must not, so
here nothing calls pvc but in children.  The steps of each operation are counted first.  Every trial
then starts from a fresh copy of one state, ends at a drawn step, and is looked at by another child.

    export OPENBLAS_NUM_THREADS=1
    python -m tests.support.crash kills --seed 3 --times 7       1050 kills
    python -m tests.support.crash faults                         interrupts and errors of the disk
    python -m tests.support.crash "mv / kill before / 17 / 0"    one trial

Limits: Linux; what a loss of power takes away is not tried, since all caches survive a kill.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import itertools
import json
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pvc.codec import BaseBlock, decode, encode, measure, same
from pvc.repo.git import GitError, locks
from pvc_store.kinds import BYTES, KIND_BY_NAME
from tests.repo.conftest import GIT_CONFIG
from tests.support import steps
from tests.support.scenes import (
    SCENES,
    Place,
    Scene,
    Snapshot,
    examine,
    leftovers,
    make_models,
    make_templates,
    settle,
    snapshot,
)
from tests.support.steps import Steps, Trial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KILLS = {
    steps.KILL_BEFORE: 40, steps.KILL_AFTER: 35, steps.KILL_WITHIN: 15, steps.KILL_TWICE: 20,
    steps.KILL_LATER: 10, steps.KILL_GIT: 10, steps.KILL_ALL: 20,
}  # fmt: skip
FAULTS = {
    steps.INTERRUPT_BEFORE: 25, steps.INTERRUPT_AFTER: 25, steps.INTERRUPT_ALL: 10,
    steps.DISK_FULL: 30, steps.DISK_BROKEN: 30,
}  # fmt: skip
"""How many trials of each sort are in a short run."""

LONGEST_GIT_SECONDS = 0.006
RECOVERY_STEPS = 12
CHILD_SECONDS = 60
ORPHAN_SECONDS = 20
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended.

    Attributes:
        signal: what killed it, or 0.
        value: what its function returned, if it did.
        error: what it raised, if it did: the name of the error, and the traceback.
        labels: its steps.
        hung: how many processes it left that did not end by themselves.
    """

    signal: int = 0
    value: Any = None
    error: tuple[str, str] | None = None
    labels: tuple[str, ...] = ()
    hung: int = 0

    def done(self) -> Ended:
        """This, if all went well.

        Raises:
            RuntimeError: it did not.
        """
        if self.signal or self.error:
            raise RuntimeError(f"A child ended badly: {self}")
        return self


def child(
    work: Callable[[], Any],
    watch: Callable[[int], Steps] | None = None,
    when_ready: Callable[[int], None] | None = None,
) -> Ended:
    """Run a function in a child, and wait for it and for all that it started.

    Args:
        work: the function.
        watch: begins to count the steps; gets the descriptor for the byte that a step has come.
        when_ready: what to do then; gets the process id.
    """
    readable, writable = os.pipe()
    process = os.fork()
    if process == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.alarm(CHILD_SECONDS)
        os.setpgid(0, 0)
        _live(work, watch, writable)
    os.close(writable)
    with os.fdopen(readable, "rb") as pipe:
        told = pipe.read(1)
        if told == b"!" and when_ready is not None:
            when_ready(process)
            told = b""
        told += pipe.read()
    _, status = os.waitpid(process, 0)
    hung = _wait_for_orphans()
    if os.WIFSIGNALED(status):
        return Ended(os.WTERMSIG(status), hung=hung)
    ended: Ended = pickle.loads(told)
    return replace(ended, hung=hung)


def _wait_for_orphans() -> int:
    """Wait for all that a child started; a git whose signal handler loops is ended."""
    hung, deadline = 0, time.monotonic() + ORPHAN_SECONDS
    with contextlib.suppress(ChildProcessError):
        while True:
            if os.waitpid(-1, os.WNOHANG) != (0, 0):
                continue
            if time.monotonic() > deadline:
                for each in Path("/proc/thread-self/children").read_text().split():
                    hung += 1
                    os.kill(int(each), signal.SIGKILL)
                deadline += ORPHAN_SECONDS
            time.sleep(0.0005)
    return hung


def _live(work: Callable[[], Any], watch: Callable[[int], Steps] | None, writable: int) -> None:
    """The life of a child."""
    write, leave = os.write, os._exit
    watched = None if watch is None else watch(writable)
    value, error = None, None
    try:
        value = work()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except BaseException as raised:  # noqa: BLE001 (it is told to the parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        error = type(raised).__name__, traceback.format_exc()
    ended = Ended(0, value, error, () if watched is None else tuple(watched.labels))
    told = pickle.dumps(ended)
    while told:
        told = told[write(writable, told) :]
    leave(0)


@dataclass(frozen=True)
class Known:
    """What is known of a scene.

    Attributes:
        scene: the operation.
        old: the stage before it.
        new: the stage after it.
        part: the stage after a part of it, if that is a good state, too; else the old one.
        labels: its steps.
        seconds: how long it takes.
    """

    scene: Scene
    old: Snapshot
    new: Snapshot
    part: Snapshot
    labels: tuple[str, ...]
    seconds: float

    @property
    def turn(self) -> int:
        """The step before which the state must stay the old one: HEAD moves, or is told to stay."""
        heads = ("git commit ", "git checkout ", "git merge ")
        moves = [at for at, label in enumerate(self.labels) if label.startswith(heads)]
        told = [at for at, label in enumerate(self.labels) if "/targets/" in label]
        return (moves or told)[0]


@dataclass
class Driver:
    """Runs trials in one folder.

    Attributes:
        place: the folders.
        known: what is known of each scene.
        stamps: of the checkpoints that no trial may touch.
        outcomes: how many trials of a sort ended how.
        problems: what is wrong.
    """

    place: Place
    known: dict[str, Known] = field(default_factory=dict)
    stamps: list[tuple[str, int, int]] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        """Make all states from which trials start, and run each operation once to its end."""
        child(partial(make_models, self.place)).done()
        child(partial(make_templates, self.place)).done()
        self.stamps = stamps_below(self.place.model(""))
        self.known = {scene.name: self._know(scene) for scene in SCENES}

    def _know(self, scene: Scene) -> Known:
        place = self.place
        part = self._after(scene.start, scene.part)
        old = self._after(scene.start, None)
        start = time.monotonic()
        ran = child(partial(scene.run, place), lambda _: Steps(place.stage)).done()
        seconds = time.monotonic() - start
        new: Snapshot = child(partial(snapshot, place)).done().value
        if not new.differences(old) or leftovers(place):
            raise RuntimeError(f"{scene.name} does nothing, or leaves {leftovers(place)}")
        return Known(scene, old, new, part, ran.labels, seconds)

    def _after(self, start: str, run: Callable[[Place], object] | None) -> Snapshot:
        self.place.restore(start)
        if run is not None:
            child(partial(run, self.place)).done()
        found: Snapshot = child(partial(snapshot, self.place)).done().value
        return found

    def run(self, trial: Trial) -> None:
        """Run one trial, and look at what it left."""
        known, place = self.known[trial.scene], self.place
        place.restore(known.scene.start)
        ended = child(
            partial(known.scene.run, place),
            lambda ready: Steps(place.stage, trial.what, trial.step, ready),
            partial(self._from_outside, trial),
        )
        self.outcomes["gits that hung"] += ended.hung
        if trial.what == steps.KILL_TWICE:
            again = Trial(trial.scene, steps.KILL_BEFORE, int(trial.number))
            died = child(
                partial(settle, place), lambda _: Steps(place.stage, again.what, again.step)
            )
            self.outcomes["recoveries killed"] += bool(died.signal)
        problems = list(self._ending(trial, known, ended))
        side = "not to be used"
        looked = child(partial(examine, place, known.scene, (known.old, known.part, known.new)))
        if looked.signal or looked.error:
            problems.append(f"{looked.error or looked.signal}")
        else:
            side, found = looked.value
            problems += found
        problems += self._claims(trial, known, ended, side)
        self.outcomes[f"{trial.what}: {side}"] += 1
        if problems:
            label = dict(enumerate(known.labels)).get(trial.step, "?")
            self.problems.append("\n  ".join([f'"{trial}" ({label})', *problems]))

    def _from_outside(self, trial: Trial, process: int) -> None:
        time.sleep(trial.number)
        with contextlib.suppress(ProcessLookupError):
            if trial.what == steps.KILL_LATER:
                os.kill(process, signal.SIGKILL)
            elif trial.what == steps.KILL_GIT:
                for each in git_children(process):
                    os.kill(each, signal.SIGKILL)
            else:
                kills = trial.what == steps.KILL_ALL
                os.killpg(process, signal.SIGKILL if kills else signal.SIGINT)

    def _ending(self, trial: Trial, known: Known, ended: Ended) -> Iterator[str]:
        """What is wrong with how an operation ended."""
        if stamps_below(self.place.model("")) != self.stamps:
            yield "the base, or another checkpoint, was touched"
        if ended.signal not in {0, signal.SIGKILL}:
            yield f"it was ended by signal {ended.signal}"
        expected = {"OSError", GitError.__name__, "KeyboardInterrupt"}
        if ended.error is not None and ended.error[0] not in expected:
            yield f"it raised {ended.error}"
        repaired = not ended.signal and trial.what != steps.DISK_FULL
        if repaired and (self.place.store / "journal.json").exists():
            yield f"the next command has to recover after {ended.error}"

    def _claims(self, trial: Trial, known: Known, ended: Ended, side: str) -> Iterator[str]:
        """In what an operation that was not killed did not do as it said."""
        if not ended.signal and ended.error is None and side != "new":
            yield f"it reported success, but the state is: {side}"
        early = trial.step < known.turn and trial.what != steps.KILL_LATER
        if ended.error is not None and early and side == "new" and trial.number == 0:
            yield f"it raised {ended.error}, yet the state is new"


def stamps_below(directory: Path) -> list[tuple[str, int, int]]:
    """Path, size and time of last change of every file."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]


def git_children(process: int) -> list[int]:
    """Git commands that a process is running, but for those that it keeps to read objects."""
    found = []
    for task in Path(f"/proc/{process}/task").iterdir():
        for number in (task / "children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"git") and b"cat-file" not in words:
                    found.append(int(number))
    return found


def draw(known: dict[str, Known], shares: dict[str, int], seed: int, times: int) -> list[Trial]:
    """Trials, drawn so that every operation gets its share of every sort."""
    chosen = random.Random(seed)
    trials = []
    for what, count in shares.items():
        steps_of = {name: steps.suitable(what, each.labels) for name, each in known.items()}
        names = [name for name, found in steps_of.items() if found]
        chosen.shuffle(names)
        for name in itertools.islice(itertools.cycle(names), count * times):
            number = 0.0
            if what == steps.KILL_TWICE:
                number = chosen.randrange(RECOVERY_STEPS)
            elif what in steps.FROM_OUTSIDE:
                later = what == steps.KILL_LATER
                number = chosen.uniform(0, known[name].seconds if later else LONGEST_GIT_SECONDS)
            trials.append(Trial(name, what, chosen.choice(steps_of[name]), round(number, 6)))
    return trials


def become_alone(home: Path) -> None:
    """Let nothing from outside matter, and no child out of sight.

    Commits are the same each time.  Processes whose parents die become children of this one, so
    that it can wait for all of them.
    """
    home.mkdir(exist_ok=True)
    (home / "gitconfig").write_text(GIT_CONFIG)
    os.environ["GIT_CONFIG_GLOBAL"] = str(home / "gitconfig")
    os.environ["GIT_CONFIG_NOSYSTEM"] = "1"
    os.environ["GIT_AUTHOR_DATE"] = os.environ["GIT_COMMITTER_DATE"] = "1700000000 +0000"
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def warm() -> None:
    """Load the compiled loops, so that no child has to."""
    kind, drawn = KIND_BY_NAME["BF16"], np.random.default_rng(0)
    base, raw = (drawn.integers(0, 256, 4096, np.uint8) for _ in range(2))
    raw[:4000] = base[:4000]
    out = np.empty_like(raw)
    first = encode(base, kind)
    decode(first, None, out)
    decode(encode(raw, kind, BaseBlock(base, first.form.key, kind)), base, out)
    decode(encode(np.zeros(4096, np.uint8), BYTES), None, out)
    measure(raw, kind, base, kind)
    same(raw, base)


def run(what: str, home: Path, seed: int, times: int) -> Driver:
    """Run all trials that are wanted; returns what came out."""
    driver = Driver(Place(home))
    locks.LOCK_SECONDS = 0.01  # all that could hold git's locks has been waited for
    become_alone(home)
    warm()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        raise RuntimeError("A process with threads cannot fork; set OPENBLAS_NUM_THREADS=1.")
    driver.prepare()
    shares = {"kills": KILLS, "faults": FAULTS}.get(what)
    trials = [Trial.parse(what)] if shares is None else draw(driver.known, shares, seed, times)
    for trial in trials:
        driver.run(trial)
    return driver


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--home", type=Path, help="an empty folder; best in memory")
    wanted = parser.parse_args()
    with contextlib.ExitStack() as stack:
        home = wanted.home or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        driver = run(wanted.what, home.resolve(), wanted.seed, wanted.times)
    steps_of = {name: len(known.labels) for name, known in driver.known.items()}
    json.dump({"steps": steps_of, "outcomes": driver.outcomes}, sys.stdout, indent=1)
    sys.stderr.write("\n".join(driver.problems))
    sys.exit(bool(driver.problems))


if __name__ == "__main__":
    main()
