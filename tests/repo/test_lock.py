"""Whoever changes a repository is alone with it; whoever reads it is not disturbed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pvc.repo.checkout import checkout
from pvc.repo.commit import Wish, commit
from pvc.repo.diff import diff
from pvc.repo.edits import commit_edits, remove, rename, revert
from pvc.repo.fsck import fsck
from pvc.repo.history import log, show
from pvc.repo.refs import create_branch, create_tag, delete_branch, delete_tag, switch
from pvc.repo.repository import Repository
from pvc.repo.status import status
from pvc_store.errors import LockedError
from tests.repo.conftest import CREW, git

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOLDER = """
import sys
from pathlib import Path
from pvc.repo.repository import Repository
with Repository.open(Path(sys.argv[1])) as repository, repository.lock():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(made: Repository) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock."""
    command = [sys.executable, "-c", HOLDER, str(made.root)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_changes_are_refused_soon(
    made: Repository, held: subprocess.Popen[str], sources: dict[str, Path], tmp_path: Path
) -> None:
    changes: list[Callable[[], object]] = [
        lambda: commit(made, Wish("third", sources["quiet"], aside=True), CREW),
        lambda: checkout(made, "v1", tmp_path / "out", keep_head=False, crew=CREW),
        lambda: commit_edits(made, "x"),
        lambda: remove(made, "quiet"),
        lambda: rename(made, "quiet", "calm"),
        lambda: revert(made, "HEAD"),
        lambda: create_branch(made, "side", "HEAD"),
        lambda: create_tag(made, "v2", "HEAD"),
        lambda: delete_branch(made, "side", force=True),
        lambda: delete_tag(made, "v1"),
        lambda: switch(made, "main", create=False),
    ]
    before = git(made.root, "for-each-ref"), git(made.root, "status", "--porcelain")
    for change in changes:
        start = time.monotonic()
        with pytest.raises(LockedError, match=f"process {held.pid}"):
            change()
        assert time.monotonic() - start < 2
    assert (git(made.root, "for-each-ref"), git(made.root, "status", "--porcelain")) == before
    assert not (tmp_path / "out").exists()


def test_reading_goes_on(made: Repository, held: subprocess.Popen[str]) -> None:
    assert held.poll() is None
    assert status(made).branch == "main"
    assert len(list(log(made, None, None))) == 4
    assert show(made, "quiet").event is not None
    assert diff(made, None, None, "role", CREW).total.changed_blocks
    assert fsck(made, CREW).findings == ()


def test_a_lock_ends_with_its_process(made: Repository, held: subprocess.Popen[str]) -> None:
    held.kill()
    held.wait()
    assert str(remove(made, "quiet").personality) == "base + listening + suggesting"


def test_who_waits_gets_it(
    made: Repository, held: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pvc.repo.repository.LOCK_WAIT_SECONDS", 20.0)
    assert held.stdin is not None
    held.stdin.close()
    remove(made, "quiet")


def test_another_working_tree_waits_too(
    made: Repository, held: subprocess.Popen[str], tmp_path: Path
) -> None:
    git(made.root, "worktree", "add", "-q", "-b", "side", str(tmp_path / "second"), "v1")
    with Repository.open(tmp_path / "second") as beside, pytest.raises(LockedError):
        remove(beside, "listening")
    assert held.poll() is None
