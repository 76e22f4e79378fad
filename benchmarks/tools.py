"""What is compared: tools that keep versions of a checkpoint, each behind the same few steps.

A tool begins with the base stored and in a working directory.  Measured is then

    keep      the second version is stored
    switch    the working directory goes from the base to the second version
    back      the working directory goes from the second version to the base
    new       the second version is written to a new directory

git-lfs and DVC store what lies in the working directory, so they go back before they switch.  pvc
alone fsyncs what it stores and writes, and reads back what it has written.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from benchmarks.process import Run, run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OWN_STEPS = ("keep", "switch", "back", "new")


class Tool(Protocol):
    """A tool in a directory of its own."""

    name: str
    steps: tuple[str, ...]

    def begin(self, base: Path) -> None:
        """Store the base."""
        ...

    def place(self, second: Path) -> None:
        """Put the second version where the tool expects what is to be stored; not measured."""
        ...

    def stored(self) -> int:
        """Bytes of all that the tool keeps."""
        ...

    def step(self, name: str) -> Run:
        """Take the next of `steps`."""
        ...

    def result(self, name: str) -> Path | None:
        """Where the second version must lie after a step, None if nowhere."""
        ...


class _Pvc:
    """pvc; the base is stored by value, and the base's own directory is still there."""

    name = "pvc"
    steps: tuple[str, ...] = OWN_STEPS

    def __init__(self, folder: Path, threads: int) -> None:
        self.root = folder / "pvc"
        self._threads = ["--threads", str(threads)]
        self._environment = {
            **os.environ,
            "PYTHONDONTWRITEBYTECODE": "",  # an installed pvc is not translated at every start
            "PYTHONPYCACHEPREFIX": str(folder.parent / "bytecode"),
        }
        self._second = Path()

    def _run(self, *arguments: str | Path) -> Run:
        command = [sys.executable, "-m", "pvc", *arguments, *self._threads, "--json"]
        return run(command, self.root, self._environment)

    def begin(self, base: Path) -> None:
        self.root.mkdir(parents=True)
        self._run("init", "--base", base)
        self._run("checkout", "base", "--to", "work")

    def place(self, second: Path) -> None:
        self._second = second

    def stored(self) -> int:
        return size(self.root / ".git")

    def step(self, name: str) -> Run:
        if name == "keep":
            return self._run("commit", "second", "--from", self._second, "--aside")
        if name == "new":
            return self._run("checkout", "second", "--to", "new")
        return self._run("checkout", "base" if name == "back" else "second", "--to", "work")

    def result(self, name: str) -> Path | None:
        return {"switch": self.root / "work", "new": self.root / "new"}.get(name)


class _InGit:
    """What git-lfs and DVC have in common: a git repository with the checkpoint in `model`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def git(self, *arguments: str) -> Run:
        identity = ["-c", "user.name=pvc", "-c", "user.email=pvc@localhost"]
        return run(["git", *identity, *arguments], self.root)

    def place(self, version: Path) -> None:
        for file in version.iterdir():
            (self.root / "model").mkdir(exist_ok=True)
            shutil.copyfile(file, self.root / "model" / file.name)


class _GitLfs(_InGit):
    """git with git-lfs for safetensors files."""

    name = "git-lfs"
    steps: tuple[str, ...] = ("keep", "back", "switch", "new")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "git-lfs")

    def begin(self, base: Path) -> None:
        self.root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("lfs", "install", "--local")
        self.git("lfs", "track", "*.safetensors")
        self.place(base)
        self._commit()

    def _commit(self) -> Run:
        return self.git("add", ".") + self.git("commit", "--quiet", "--message", "-")

    def stored(self) -> int:
        return size(self.root / ".git")

    def step(self, name: str) -> Run:
        if name == "keep":
            return self._commit()
        if name == "new":
            return self.git("worktree", "add", "--detach", "new", "main")
        return self.git("checkout", "--quiet", "main~1" if name == "back" else "main")

    def result(self, name: str) -> Path | None:
        folders = {"switch": self.root / "model", "new": self.root / "new" / "model"}
        return folders.get(name)


class _Dvc(_InGit):
    """DVC in a git repository, with its default cache.

    Args:
        folder: where its directory is created.
        program: the command.
    """

    name = "dvc"
    steps: tuple[str, ...] = ("keep", "back", "switch")

    def __init__(self, folder: Path, program: Path) -> None:
        super().__init__(folder / "dvc")
        self._program = program

    def _dvc(self, *arguments: str) -> Run:
        return run([self._program, *arguments, "--quiet"], self.root)

    def begin(self, base: Path) -> None:
        self.root.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self._dvc("init")
        self._dvc("config", "core.analytics", "false")
        self.place(base)
        self._commit()

    def _commit(self) -> Run:
        added = self._dvc("add", "model") + self.git("add", ".")
        return added + self.git("commit", "--quiet", "--message", "-")

    def stored(self) -> int:
        return size(self.root / ".git") + size(self.root / ".dvc")

    def step(self, name: str) -> Run:
        if name == "keep":
            return self._commit()
        commit = "main~1" if name == "back" else "main"
        return self.git("checkout", "--quiet", commit) + self._dvc("checkout")

    def result(self, name: str) -> Path | None:
        return self.root / "model" if name == "switch" else None


class _Copies:
    """No tool at all: every version is a copy, perhaps a compressed one.

    Args:
        folder: where its directory is created.
        name: what to call it.
        keep: copies a file into the store, from a source path to a destination path.
        restore: the inverse.
    """

    steps: tuple[str, ...] = OWN_STEPS

    def __init__(
        self,
        folder: Path,
        name: str,
        keep: Callable[[Path, Path], Sequence[str | Path]],
        restore: Callable[[Path, Path], Sequence[str | Path]],
    ) -> None:
        self.name = name
        self.root = folder / name
        self._keep = keep
        self._restore = restore
        self._second = Path()

    def begin(self, base: Path) -> None:
        self.root.mkdir(parents=True)
        self._each(self._keep, base, self.root / "store" / "base")

    def place(self, second: Path) -> None:
        self._second = second

    def stored(self) -> int:
        return size(self.root / "store")

    def step(self, name: str) -> Run:
        store = self.root / "store"
        if name == "keep":
            return self._each(self._keep, self._second, store / "second")
        if name == "new":
            return self._each(self._restore, store / "second", self.root / "new")
        source = store / ("base" if name == "back" else "second")
        return self._each(self._restore, source, self.root / "work")

    def result(self, name: str) -> Path | None:
        return {"switch": self.root / "work", "new": self.root / "new"}.get(name)

    def _each(
        self, how: Callable[[Path, Path], Sequence[str | Path]], source: Path, goal: Path
    ) -> Run:
        goal.mkdir(parents=True, exist_ok=True)
        files = sorted(source.iterdir())
        return sum((run(how(file, goal / file.name), self.root) for file in files), Run())


def available(folder: Path, threads: int, dvc: Path | None) -> list[Tool]:
    """A fresh tool of every sort that is there.

    Args:
        folder: where each creates a directory of its own name.
        threads: for those that can be told.
        dvc: the program, None if it is not to be measured.
    """
    found: list[Tool] = [_Pvc(folder, threads)]
    if shutil.which("git-lfs"):
        found.append(_GitLfs(folder))
    if dvc is not None:
        found.append(_Dvc(folder, dvc))
    found.append(_Copies(folder, "cp", _cp, _cp))
    if shutil.which("zstd"):
        found.append(_zstd(folder, threads))
    return found


def versions(dvc: Path | None) -> dict[str, str]:
    """Versions of the tools beside pvc, or why one is not measured."""
    here = Path.cwd()
    lfs = shutil.which("git-lfs")
    return {
        "git": run(["git", "--version"], here).output.split()[-1],
        "git-lfs": run([lfs, "version"], here).output.split()[0] if lfs else "not installed",
        "dvc": run([dvc, "--version"], here).output.strip() if dvc else "--dvc was not given",
        "zstd": run(["zstd", "-qV"], here).output.strip()
        if shutil.which("zstd")
        else "not installed",
    }


def _zstd(folder: Path, threads: int) -> _Copies:
    """Each version compressed by itself, at level 1."""
    options = ["zstd", "--quiet", "--force", "--no-check"]

    def pack(source: Path, goal: Path) -> list[str | Path]:
        return [*options, "-1", f"-T{threads}", source, "-o", goal]

    def unpack(source: Path, goal: Path) -> list[str | Path]:
        return [*options, "--decompress", source, "-o", goal]

    return _Copies(folder, "zstd", pack, unpack)


def _cp(source: Path, goal: Path) -> list[str | Path]:
    return ["cp", "--reflink=never", source, goal]


def size(folder: Path) -> int:
    """Bytes of all files below a directory."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())
