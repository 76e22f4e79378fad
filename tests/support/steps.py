"""The steps of an operation, and what can happen at one of them.

A step is a call that changes the disk, or a git command that may.  `Steps` stands between a process
and its calls: it counts them, and at one of them it kills the process, interrupts it, or refuses.

Limits: calls that do not go through a function of the `os` module are not seen; pvc has none that
changes a disk.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import git

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DISK_CALLS = (
    "open", "write", "pwrite", "pwritev", "ftruncate", "posix_fallocate", "fsync", "fdatasync",
    "replace", "rename", "link", "symlink", "unlink", "remove", "rmdir", "mkdir",
)  # fmt: skip
NEED_SPACE = ("open ", "pwrite ", "posix_fallocate ", "mkdir ", "git ")
CAN_BREAK = (*NEED_SPACE[:-1], "fsync ", "ftruncate ", "replace ")
READING_GIT = {
    "cat-file", "config", "diff", "for-each-ref", "fsck", "log", "ls-tree", "rev-list", "rev-parse",
    "status", "symbolic-ref", "var", "version",
}  # fmt: skip

KILL_BEFORE = "kill before"
KILL_AFTER = "kill after"
KILL_WITHIN = "kill within"
KILL_TWICE = "kill twice"
KILL_LATER = "kill later"
KILL_GIT = "kill git"
KILL_ALL = "kill git and all"
INTERRUPT_BEFORE = "interrupt before"
INTERRUPT_AFTER = "interrupt after"
INTERRUPT_ALL = "interrupt git and all"
DISK_FULL = "disk full"
DISK_BROKEN = "disk broken"

KILLS = (
    KILL_BEFORE, KILL_AFTER, KILL_WITHIN, KILL_TWICE, KILL_LATER, KILL_GIT, KILL_ALL,
)  # fmt: skip
FROM_OUTSIDE = (KILL_LATER, KILL_GIT, KILL_ALL, INTERRUPT_ALL)
WHILE_GIT_RUNS = (KILL_GIT, KILL_ALL, INTERRUPT_ALL)


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        scene: the operation.
        what: what happens to it.
        step: at which step, counted from 0.
        number: what happens from outside does so this many seconds later; for KILL_TWICE, the step
            at which the recovery is killed.
    """

    scene: str
    what: str
    step: int
    number: float = 0.0

    def __str__(self) -> str:
        return f"{self.scene} / {self.what} / {self.step} / {self.number:g}"

    @classmethod
    def parse(cls, text: str) -> Trial:
        """Read what `str` gives."""
        scene, what, step, number = text.split(" / ")
        return cls(scene, what, int(step), float(number))


def suitable(what: str, labels: tuple[str, ...]) -> list[int]:
    """The steps at which something can happen, given the labels of all of them."""
    journal = next((at for at, label in enumerate(labels) if "journal" in label), len(labels))
    starts: tuple[str, ...] = ("",)
    if what in WHILE_GIT_RUNS:
        starts = ("git ",)
    elif what == KILL_WITHIN:
        starts = ("pwrite ",)
    elif what in {DISK_FULL, DISK_BROKEN}:
        starts = NEED_SPACE if what == DISK_FULL else CAN_BREAK
    elif what == KILL_LATER:
        labels = labels[:1]
    first = journal + 1 if what == KILL_TWICE else 0
    return [at for at, label in enumerate(labels) if label.startswith(starts) and at >= first]


class Steps:
    """Counts the steps of this process, and lets something happen at one of them.

    Args:
        home: only calls on what lies below it are steps.
        what: what happens.
        at: the step.
        ready: a descriptor that gets a byte when the step has come, for what happens from outside.
    """

    def __init__(self, home: Path, what: str = "", at: int = -1, ready: int = -1) -> None:
        self.labels: list[str] = []
        self._home = os.fspath(home)
        self._what = what
        self._at = at
        self._ready = ready
        self._count = itertools.count()
        self._write = os.write
        for name in DISK_CALLS:
            setattr(os, name, partial(self._disk, name, getattr(os, name)))
        self._watch_git()

    def _watch_git(self) -> None:
        execute, steps = git.cmd.Git.execute, self

        def watched(self: git.cmd.Git, command: Any, *rest: Any, **named: Any) -> Any:
            words = git_words(command)
            call = partial(execute, self, command, *rest, **named)
            return (
                call() if words[0] in READING_GIT else steps.step(" ".join(["git", *words]), call)
            )

        git.cmd.Git.execute = watched  # type: ignore[method-assign]

    def _disk(self, name: str, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        place = arguments[0]
        path = str(Path(f"/proc/self/fd/{place}").readlink() if isinstance(place, int) else place)
        reads = name == "open" and not arguments[1] & (os.O_CREAT | os.O_TRUNC)
        if reads or not (path.startswith(self._home) or named.get("dir_fd") is not None):
            return call(*arguments, **named)
        label = f"{name} {path.removeprefix(self._home)}"
        return self.step(label, partial(call, *arguments, **named), arguments)

    def step(self, label: str, call: Callable[[], Any], arguments: tuple[Any, ...] = ()) -> Any:
        """Take one step."""
        number = next(self._count)
        self.labels.append(label)
        if number > self._at >= 0 and self._what == DISK_FULL and label.startswith(NEED_SPACE):
            refuse(label, errno.ENOSPC)
        if number != self._at:
            return call()
        self._before(label, arguments)
        result = call()
        if self._what in {KILL_AFTER, KILL_TWICE}:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._what == INTERRUPT_AFTER:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    def _before(self, label: str, arguments: tuple[Any, ...]) -> None:
        if self._what == KILL_WITHIN:
            fd, data, offset = arguments
            os.pwritev(fd, [memoryview(data).cast("B")[: len(data) // 2]], offset)
        if self._what in {KILL_BEFORE, KILL_WITHIN}:
            os.kill(os.getpid(), signal.SIGKILL)
        elif self._what == INTERRUPT_BEFORE:
            os.kill(os.getpid(), signal.SIGINT)
        elif self._what in {DISK_FULL, DISK_BROKEN}:
            refuse(label, errno.ENOSPC if self._what == DISK_FULL else errno.EIO)
        elif self._what in FROM_OUTSIDE:
            self._write(self._ready, b"!")


def git_words(command: Sequence[str]) -> list[str]:
    """A git command without options: what it does, and to what."""
    rest = list(command[1:])
    while rest[0] == "-c":
        del rest[:2]
    return [word for word in rest if not word.startswith("-")]


def refuse(label: str, code: int) -> None:
    """Fail as the system, or git, would."""
    if label.startswith("git "):
        raise git.GitCommandError(label.split(), 128, os.strerror(code))
    raise OSError(code, os.strerror(code), label)
