"""A process that dies again and again: `python -m tests.store.crash FOLDER`.

It copies a store, forks a child that changes the copy, and lets the child die at its first call
that changes the disk; then at the second; and so on until a child comes to its end.  After each
death the copy must be sound: nothing damaged, and no tree whose blocks or base are not there.
Written as a process of its own because a fork wants no other threads.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pvc_store import pack
from pvc_store.files import FileStore
from pvc_store.tree import Tensor, Tree
from tests.store.samples import layout, raw_block, tensor

if TYPE_CHECKING:
    from collections.abc import Callable

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


def crash_everywhere(folder: Path) -> None:
    pack.MAX_PACK_BYTES = 6000  # several packs
    put(FileStore.create(folder / "store"), BEFORE)
    counts: list[int] = []
    status = DEATH
    while os.waitstatus_to_exitcode(status) if counts else True:
        copy = folder / str(len(counts))
        shutil.copytree(folder / "store", copy)
        child = os.fork()
        if child == 0:
            die_at(len(counts))
            put(FileStore(copy), BASE, AGAINST_BASE)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) not in {0, DEATH}:
            raise AssertionError(f"step {len(counts)} ended with {status}")
        counts.append(check(copy))
        put(FileStore(copy), BASE, AGAINST_BASE)  # the next change, after the crash
        if check(copy) != 3 or list((copy / "tmp").iterdir()):
            raise AssertionError("the change after the crash is not complete, or left something")
        shutil.rmtree(copy)
    sys.stdout.write(" ".join(map(str, counts)) + "\n")


if __name__ == "__main__":
    crash_everywhere(Path(sys.argv[1]))
