"""A process that dies again and again: `python -m tests.support.store_crash store|backend FOLDER`.

It makes a store, forks a child that changes it, and lets the child die at its first call that
changes the disk; then at the second; and so on until a child comes to its end.  After each death
the store must be sound: nothing damaged, and no tree whose blocks or base are not there.  Of an
object that was put into a backend there must be the old bytes or the new ones.
Written as a process of its own because a fork wants no other threads.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc_store import pack
from pvc_store.backend.local import LocalBackend
from pvc_store.files import FileStore
from pvc_store.tree import Tensor, Tree
from tests.store.samples import layout, raw_block, tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DISK_CALLS = ("open", "pwrite", "ftruncate", "fsync", "replace", "mkdir", "unlink", "rmdir")
DEATH = 9


def stored(seed: int) -> Tensor:
    """The tensor whose only block is `raw_block(seed)`."""
    return tensor(f"t{seed}", seed, (500,))


BEFORE = Tree(map(stored, range(3)))
BASE = Tree(map(stored, range(3, 9)))
AGAINST_BASE = Tree(map(stored, range(4, 12)))


def put(store: FileStore, *trees: Tree) -> None:
    with store.writing() as change:
        for each in trees:
            for name in each:
                change.put(raw_block(int(name[1:])))
        change.put_tree(trees[0])
        for each in trees[1:]:
            change.put_tree(each, trees[0])
        change.put_layout(layout(str(len(trees))))


def die_at(step: int) -> None:
    """Let this process die within its disk call number `step`, counted from 0."""
    left = step

    def deadly(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            if call is opening and not arguments[1] & os.O_CREAT:
                return call(*arguments, **named)
            if left == 0:
                if call is pwrite:  # some of the bytes still reach the disk
                    fd, data, offset = arguments
                    call(fd, data[: len(data) // 2], offset)
                os._exit(DEATH)
            left -= 1
            return call(*arguments, **named)

        return wrapped

    pwrite, opening = os.pwrite, os.open
    for name in DISK_CALLS:
        setattr(os, name, deadly(getattr(os, name)))


def check(root: Path) -> int:
    """Make sure that a store is sound; how many trees it has."""
    store = FileStore(root)
    damages = list(store.verify())
    if damages:
        raise AssertionError(damages)
    for tree_id in store.tree_ids():
        for each in store.tree(tree_id).values():
            if bytes(store.get(each.keys).payload) != raw_block(int(each.name[1:])).payload:
                raise AssertionError(each.name)
    if BEFORE.id not in store.tree_ids():
        raise AssertionError("what was there before is gone")
    store.close()
    return len(store.tree_ids())


def deaths(
    folder: Path, begin: Callable[[Path], object], change: Callable[[Path], None]
) -> Iterator[Path]:
    """A directory after `begin`, then a death within `change`, at one step after another.

    The last one has come to its end.
    """
    status = DEATH
    for step in itertools.count():
        root = folder / str(step)
        begin(root)
        child = os.fork()
        if child == 0:
            die_at(step)
            change(root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        status = os.waitstatus_to_exitcode(status)
        if status not in {0, DEATH}:
            raise AssertionError(f"step {step} ended with {status}")
        yield root
        shutil.rmtree(root)
        if status == 0:
            return


def store_crashes(folder: Path) -> Iterator[int]:
    """The number of trees after each death within a change to a store."""
    pack.MAX_PACK_BYTES = 6000  # several packs
    put(FileStore.create(folder / "store"), BEFORE)

    def change(root: Path) -> None:
        put(FileStore(root), BASE, AGAINST_BASE)

    for root in deaths(folder, lambda root: shutil.copytree(folder / "store", root), change):
        yield check(root)
        change(root)  # the next change, after the crash
        if check(root) != 3 or list((root / "tmp").iterdir()):
            raise AssertionError("the change after the crash is not complete, or left something")


def backend_crashes(folder: Path) -> Iterator[int]:
    """The number of steps done after each death: one object replaced, one put, one deleted."""
    old, new = b"old" * 1000, b"new" * 1000
    sound = {"packs/ab/old": {old, new}, "packs/cd/new": {new}, "packs/ab/gone": {old}}
    (folder / "source").write_bytes(new)

    def backend(root: Path) -> LocalBackend:
        return LocalBackend(root, root / "tmp")

    def begin(root: Path) -> None:
        root.mkdir()
        for name in ("packs/ab/old", "packs/ab/gone"):
            backend(root).put(name, old)

    def change(root: Path) -> None:
        backend(root).put("packs/ab/old", new)
        backend(root).put("packs/cd/new", folder / "source")
        backend(root).delete(["packs/ab/gone"])

    for root in deaths(folder, begin, change):
        found = {name: backend(root).get(name) for name in backend(root).list("packs")}
        if "packs/ab/old" not in found or any(found[name] not in sound[name] for name in found):
            raise AssertionError(found)
        yield list(found.values()).count(new) + ("packs/ab/gone" not in found)
        change(root)
        if len(list(backend(root).list("packs"))) != 2 or list((root / "tmp").iterdir()):
            raise AssertionError("the change after the crash is not complete, or left something")


if __name__ == "__main__":
    crashes = {"store": store_crashes, "backend": backend_crashes}[sys.argv[1]]
    sys.stdout.write(" ".join(map(str, crashes(Path(sys.argv[2])))) + "\n")
