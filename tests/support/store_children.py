"""What tests let other processes do: `python -m tests.support.store_children NAME ARGUMENT...`.

A child says "ready" once it has come to the interesting point, and waits there for a line.
"""

from __future__ import annotations

import importlib
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from pvc_store.errors import LockedError
from pvc_store.files import FileStore
from pvc_store.lock import hold
from tests.store.samples import layout, raw_block, tree

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
NOBODY = 65534


class Child:
    """A child process; killed at the end if it still runs."""

    def __init__(self, name: str, *arguments: object, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "tests.support.store_children", name]
        self.process = subprocess.Popen(
            [*command, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def until_ready(self) -> None:
        line = self._stream(self.process.stdout).readline()
        if line != "ready\n":
            raise AssertionError(line + self._stream(self.process.stderr).read())

    def go_on(self) -> None:
        stream = self._stream(self.process.stdin)
        stream.write("\n")
        stream.flush()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        assert self.process.wait(30) == -signal.SIGKILL

    def finish(self) -> str:
        """What it says at its end; it must end well."""
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return out

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None
        return stream


def ready() -> None:
    say("ready")
    sys.stdin.readline()


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def put(root: str, first: str, last: str) -> None:
    """Put some blocks and a tree, waiting in the middle."""
    with FileStore(Path(root)).writing() as change:
        for seed in range(int(first), int(last)):
            change.put(raw_block(seed))
        change.put_tree(tree("a", seed=int(first)))
        change.put_layout(layout(first))
        ready()


def read(root: str, seed: str) -> None:
    """Read all that `put` has put."""
    store = FileStore(Path(root))
    got = bytes(store.get(raw_block(int(seed)).form.key).payload)
    say(got == raw_block(int(seed)).payload, len(store.tree(tree("a").id)))


def read_as_nobody(root: str, seed: str) -> None:
    """Read without the right to write."""
    importlib.import_module("pvc_store.index")  # while the interpreter's files can be read
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    assert not os.access(root, os.W_OK)
    read(root, seed)


def lock(path: str, exclusive: str) -> None:
    """Hold a lock until told to go on."""
    with hold(Path(path), exclusive=exclusive == "exclusive", holder="a child of the tests"):
        ready()


def try_locks(path: str, *wanted: str) -> None:
    """Say which locks can be had at once."""
    for exclusive in wanted:
        try:
            with hold(Path(path), exclusive=exclusive == "exclusive"):
                say(exclusive, "held")
        except LockedError as error:
            say(exclusive, f"refused, held by {error.holder!r}")


def create(root: str) -> None:
    """Create a store when told to."""
    ready()
    FileStore.create(Path(root))


def small_files(root: str, limit: str) -> None:
    """Write with a limit on the size of files; say the `errno` that comes of it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    _put_until_it_fails(FileStore(Path(root)))


def small_disk(root: str, size: str) -> None:
    """Write to a file system of `size` bytes, mounted for this process alone."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", root], check=True)
    store = FileStore.create(Path(root))
    with store.writing() as change:
        change.put(raw_block(0))
        change.put_tree(tree("a"))
    _put_until_it_fails(store)
    names = sorted(str(path.relative_to(root)) for path in Path(root).rglob("*") if path.is_file())
    say(len([name for name in names if name.startswith("packs/")]), "packs")
    say([name for name in names if name.startswith("tmp/")])
    with store.writing() as change:  # the space is there again
        change.put(raw_block(1))
    say([damage.detail for damage in store.verify()], len(list(store.forms())))


def _put_until_it_fails(store: FileStore) -> None:
    try:
        with store.writing() as change:
            change.put_tree(tree("b"))
            for seed in range(100, 200):
                change.put(raw_block(seed, 1 << 16))
    except OSError as error:
        say(os.strerror(error.errno or 0))


CHILDREN: dict[str, Callable[..., None]] = {
    "put": put,
    "read": read,
    "read_as_nobody": read_as_nobody,
    "lock": lock,
    "try_locks": try_locks,
    "create": create,
    "small_files": small_files,
    "small_disk": small_disk,
}

if __name__ == "__main__":
    CHILDREN[sys.argv[1]](*sys.argv[2:])
