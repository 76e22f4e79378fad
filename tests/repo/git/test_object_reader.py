"""Objects of git, read by one process."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pvc.repo.git import Git, GitError
from tests.repo.conftest import git

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Git]:
    """A repository with a commit of files of all sorts."""
    git(tmp_path, "init", "-q")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "deep.txt").write_bytes(b"deep\0\n")
    (tmp_path / "a" / "two\nlines").write_bytes(b"")
    (tmp_path / "big").write_bytes(bytes(3 << 20))
    (tmp_path / "link").symlink_to("big")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "files")
    found = Git(tmp_path)
    yield found
    found.close()


def test_files_are_read_as_they_are(opened: Git) -> None:
    commit = opened.head()
    assert commit == git(opened.root, "rev-parse", "HEAD").strip()
    for path, data in {
        "a/b/deep.txt": b"deep\0\n",
        "a/two\nlines": b"",
        "big": bytes(3 << 20),
        "link": b"big",
    }.items():
        assert opened.read_bytes(commit, path) == data
    for path in ("a", "a/b", "a/c/deep.txt", "big/inside", "nothing", "a/two"):
        assert opened.read_bytes(commit, path) is None
    assert opened.files(commit, "a") == ["a/two\nlines"]
    assert opened.files(commit, "a/b") == ["a/b/deep.txt"]
    assert opened.files(commit, "big") == opened.files(commit, "nothing") == []


def test_an_object_that_is_damaged_is_an_error(opened: Git) -> None:
    blob = git(opened.root, "rev-parse", "HEAD:a/b/deep.txt").strip()
    file = opened.root / ".git" / "objects" / blob[:2] / blob[2:]
    file.chmod(0o600)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(GitError, match="gave up; `git fsck` may find a damaged one"):
        opened.read_bytes("HEAD", "a/b/deep.txt")


def test_an_object_that_is_missing_is_an_error(opened: Git) -> None:
    for path in ("a/b/deep.txt", "a/b"):
        blob = git(opened.root, "rev-parse", f"HEAD:{path}").strip()
        (opened.root / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
        with pytest.raises(GitError, match=f"{blob} is missing"):
            opened.read_bytes("HEAD", "a/b/deep.txt")


def test_a_new_process_takes_over_from_one_that_ended(opened: Git) -> None:
    assert opened.head() is not None
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children").read_text()
    (pid,) = (
        int(child)
        for child in children.split()
        if b"cat-file" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    os.kill(pid, signal.SIGKILL)
    assert opened.head() is not None
    assert opened.read_bytes("HEAD", "link") == b"big"


def test_an_interrupted_answer_is_not_taken_for_the_next(opened: Git) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for step in range(30):
            signal.setitimer(signal.ITIMER_REAL, 0.0002 * (step + 1))
            with contextlib.suppress(KeyboardInterrupt):
                while True:
                    assert opened.read_bytes("HEAD", "big") == bytes(3 << 20)
            assert opened.read_bytes("HEAD", "link") == b"big"
    finally:
        signal.signal(signal.SIGALRM, before)


def test_commits_made_meanwhile_are_seen(opened: Git) -> None:
    before = opened.head()
    git(opened.root, "commit", "-q", "--allow-empty", "-m", "empty")
    assert opened.head() == git(opened.root, "rev-parse", "HEAD").strip() != before
    git(opened.root, "pack-refs", "--all")
    git(opened.root, "repack", "-q", "-a", "-d")
    assert opened.read_bytes("HEAD", "link") == b"big"
