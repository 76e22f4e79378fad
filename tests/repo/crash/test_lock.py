"""Whoever changes a repository is alone with it; whoever reads it is not disturbed."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.branches import create_branch, create_tag, delete_branch, delete_tag, switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.diff_trees import diff
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.log import log, show
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.revert import revert
from pvc.repo.commands.status import status
from pvc.repo.history.journal import Journal, JournalFile
from pvc.repo.history.recovery import position, recover
from pvc.repo.repository import Repository
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
        lambda: commit(made, Wish("third", aside=True), CheckpointSource(sources["quiet"]), CREW),
        lambda: checkout(made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW),
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


COMMITTER = """
import sys
from pathlib import Path
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.repository import Repository
from pvc.parallel import Crew
with Repository.open(Path(sys.argv[1])) as repository:
    wish, source = Wish(sys.argv[2], "base", aside=True), CheckpointSource(Path(sys.argv[3]))
    commit(repository, wish, source, Crew(1))
"""
BEGINNER = """
import sys
from pathlib import Path
from pvc.errors import PvcError
from pvc.repo.commands.init import initialise
from pvc.parallel import Crew
try:
    initialise(Path(sys.argv[1]), Path(sys.argv[2]), by_value=True, crew=Crew(1))
except PvcError as error:
    sys.exit(type(error).__name__)
"""


def together(script: str, *calls: tuple[object, ...]) -> list[tuple[int, str]]:
    """Run a script several times at once; exit status and standard error of each."""
    commands = [[sys.executable, "-c", script, *map(str, call)] for call in calls]
    running = [subprocess.Popen(each, stderr=subprocess.PIPE, text=True) for each in commands]
    said = [process.communicate()[1] for process in running]
    return [(process.returncode, text) for process, text in zip(running, said, strict=True)]


def test_commits_at_once_come_one_after_another(made: Repository, sources: dict[str, Path]) -> None:
    names = ("one", "two")
    calls = [(made.root, name, sources["suggesting"]) for name in names]
    assert together(COMMITTER, *calls) == [(0, "")] * 2
    assert set(made.head().names) == {"listening", "quiet", "suggesting", *names}
    assert fsck(made, CREW).findings == ()


def test_only_one_begins(tmp_path: Path, base: Path) -> None:
    root = tmp_path / "new"
    root.mkdir()
    done = together(BEGINNER, (root, base), (root, base))
    assert sorted(status for status, _ in done) == [0, 1]
    assert {text.strip() for _, text in done} <= {"", "ExistsError", "LockedError", "GitError"}
    with Repository.open(root) as repository:
        assert fsck(repository, CREW).findings == ()
        assert git(root, "rev-list", "--count", "HEAD") == "1\n"
        assert repository.edited() == ()


def test_status_tells_work_under_way_from_work_cut_short(
    made: Repository, held: subprocess.Popen[str]
) -> None:
    journal = JournalFile(made)
    journal.begin(Journal(made.home, made.root, position(made.git), None))
    found = status(made)
    assert (found.busy, found.interrupted) == (f"process {held.pid}", False)
    held.kill()
    held.wait()
    found = status(made)
    assert (found.busy, found.interrupted) == (None, True)
    with made.lock():
        recover(made)
    found = status(made)
    assert (found.busy, found.interrupted) == (None, False)
