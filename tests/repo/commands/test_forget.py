"""Targets are forgotten by name, and what is malformed stands only in the way of its own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import (
    DirectoryTarget,
    ForeignDirectoryError,
    SeveralTargetsError,
)
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.forget import NoTargetError, forget
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.status import status
from pvc.repo.history.journal import JournalError, JournalFile
from pvc.repo.targets.records import RecordError
from tests.repo.conftest import CREW
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository


@pytest.fixture
def served(made: Repository, tmp_path: Path) -> Path:
    checkout(made, "main", DirectoryTarget(tmp_path / "served"), keep_head=True, crew=CREW)
    return tmp_path / "served"


def record_of(repository: Repository) -> Path:
    """The file in which the only target is recorded."""
    (file,) = (repository.folder / "targets").iterdir()
    return file


def test_what_is_forgotten_is_left_alone(
    made: Repository, served: Path, tmp_path: Path, sources: dict[str, Path]
) -> None:
    other = tmp_path / "other"
    checkout(made, "v1", DirectoryTarget(other), keep_head=True, crew=CREW)
    with pytest.raises(SeveralTargetsError):
        checkout(made, "v1", DirectoryTarget(), keep_head=True, crew=CREW)
    forget(made, other)
    assert models.contents(other) == models.contents(sources["listening"])
    assert checkout(made, "v1", DirectoryTarget(), keep_head=True, crew=CREW).directory == served
    assert [target.path for target in status(made).targets] == [served]
    with pytest.raises(ForeignDirectoryError):
        checkout(made, "main", DirectoryTarget(other), keep_head=True, crew=CREW)


def test_forgetting_what_is_not_there(made: Repository, served: Path, tmp_path: Path) -> None:
    shutil.rmtree(served)
    forget(made, served)
    assert status(made).targets == ()
    for path in (served, tmp_path / "never"):
        with pytest.raises(NoTargetError):
            forget(made, path)


def test_a_malformed_target_stops_only_what_needs_it(
    made: Repository, served: Path, tmp_path: Path
) -> None:
    file = record_of(made)
    file.write_text("{")
    for text, to in (("main", served), ("main", None)):
        with pytest.raises(RecordError) as caught:
            checkout(made, text, DirectoryTarget(to), keep_head=True, crew=CREW)
        assert caught.value.where == str(file)
    with pytest.raises(RecordError):
        commit(made, Wish("calm", aside=True), CheckpointSource(served), CREW)
    found = status(made)
    assert found.targets == ()
    assert [error.where for error in found.malformed] == [str(file)]
    (finding,) = fsck(made, CREW).findings
    assert (finding.what, finding.name) == ("target", str(file))

    checkout(made, "v1", DirectoryTarget(tmp_path / "other"), keep_head=True, crew=CREW)
    rename(made, "quiet", "silent")
    remove(made, "silent")
    forget(made, served)
    assert status(made).malformed == ()
    assert fsck(made, CREW).findings == ()


def test_a_malformed_journal_stops_only_what_changes_something(
    made: Repository, served: Path
) -> None:
    file = JournalFile(made).path
    file.write_text("{")
    found = status(made)
    assert found.interrupted
    assert [error.where for error in found.malformed] == [str(file)]
    (finding,) = fsck(made, CREW).findings
    assert (finding.what, finding.name) == ("journal", str(file))
    for act in (
        lambda: checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW),
        lambda: remove(made, "quiet"),
        lambda: forget(made, served),
    ):
        with pytest.raises(JournalError, match="journal"):
            act()
    file.unlink()
    checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW)
    assert not status(made).interrupted
