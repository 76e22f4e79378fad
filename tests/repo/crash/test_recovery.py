"""Recovery where HEAD stands at a commit that knows nothing of pvc; `test_kills` does the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalFile
from pvc.repo.history.recovery import position, recover
from pvc.repo.targets.directory_record import DirectoryRecord
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository

SIZE = 64


def leave_for_nothing(repository: Repository) -> None:
    """HEAD goes to a commit without any of pvc's files."""
    git(repository.root, "checkout", "-q", "--orphan", "elsewhere")
    git(repository.root, "rm", "-rfq", ".")
    git(repository.root, "commit", "-q", "--allow-empty", "-m", "nothing")


def begin_update(repository: Repository, served: Path) -> None:
    """An update of a target from v1 to main was killed in the midst of it."""
    before = repository.targets.find(served)
    head = repository.head()
    assert before is not None
    built = models.built(head)
    after = DirectoryRecord(served, built.tree, built.layout, "main", head.personality.terms, {})
    origin = repository.root / head.config.base_path
    writing = DirectoryWrite(after, before, head.config.base_tree, origin)
    at = position(repository.git)
    JournalFile(repository.folder).begin(Journal(repository.root, at, at, writing))
    file = served / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:-SIZE] + bytes(SIZE))


@pytest.mark.parametrize("leaves", ["before", "after"])
def test_the_base_is_known_where_head_has_none(
    made: Repository, tmp_path: Path, sources: dict[str, Path], leaves: str
) -> None:
    served = tmp_path / "served"
    checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW)
    begin_update(made, served)
    file = JournalFile(made.folder)
    journal = file.read()
    assert journal is not None
    leave_for_nothing(made)
    if leaves == "before":  # HEAD stood there all the time
        at = position(made.git)
        file.begin(Journal(journal.root, at, at, journal.writing))
    with made.lock():
        assert recover(made, CREW) == ("undone" if leaves == "before" else "finished")
    wanted = "listening" if leaves == "before" else "suggesting"
    assert models.contents(served) == models.contents(sources[wanted])
    (target,) = made.targets.all()
    assert target.revision == ("v1" if leaves == "before" else "main")
    assert target.changed() == []


def test_a_malformed_record_of_the_target_is_mended(
    made: Repository, tmp_path: Path, sources: dict[str, Path]
) -> None:
    served = tmp_path / "served"
    checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW)
    begin_update(made, served)
    (record,) = (made.folder / "targets").iterdir()
    record.write_text("{")
    with made.lock():
        assert recover(made, CREW) == "undone"
    assert models.contents(served) == models.contents(sources["listening"])
    (target,) = made.targets.all()
    assert target.revision == "v1"
