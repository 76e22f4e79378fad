"""Recovery where HEAD stands at a commit that knows nothing of pvc; `test_kills` does the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.history.journal import DirectoryWrite, Journal, JournalFile
from pvc.repo.history.recovery import position, recover
from pvc.repo.targets.directory_record import DirectoryRecord
from pvc.repo.targets.mixture import SECTOR_BYTES
from tests.repo.conftest import CREW, git, is_unchanged
from tests.support import models

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.repo.repository import Repository


def leave_for_nothing(repository: Repository) -> None:
    """HEAD goes to a commit without any of pvc's files."""
    git(repository.root, "checkout", "-q", "--orphan", "elsewhere")
    git(repository.root, "rm", "-rfq", ".")
    git(repository.root, "commit", "-q", "--allow-empty", "-m", "nothing")


def begin_update(repository: Repository, served: Path, wanted: Path) -> None:
    """An update of a target from v1 to main was killed in the midst of it."""
    before = repository.targets.find(served)
    head = repository.head()
    assert before is not None
    built = models.built(head)
    after = DirectoryRecord(
        repository.home, served, before.identity, built.tree, built.layout,
        "main", head.personality.terms, {},
    )  # fmt: skip
    origin = repository.root / head.config.base_path
    writing = DirectoryWrite(after, before, head.config.base_tree, origin)
    at = position(repository.git)
    JournalFile(repository).begin(Journal(repository.home, repository.root, at, at, writing))
    file = served / "model.safetensors"
    data, new = file.read_bytes(), (wanted / file.name).read_bytes()
    half = len(data) // 2 // SECTOR_BYTES * SECTOR_BYTES
    file.write_bytes(data[:half] + new[half:])
    assert file.read_bytes() not in {data, new}


@pytest.mark.parametrize("leaves", ["before", "after"])
def test_the_base_is_known_where_head_has_none(
    made: Repository, tmp_path: Path, sources: dict[str, Path], leaves: str
) -> None:
    served = tmp_path / "served"
    checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW)
    begin_update(made, served, sources["suggesting"])
    file = JournalFile(made)
    journal = file.read()
    assert journal is not None
    leave_for_nothing(made)
    if leaves == "before":  # HEAD stood there all the time
        at = position(made.git)
        file.begin(Journal(journal.home, journal.root, at, at, journal.writing))
    with made.lock():
        assert recover(made, CREW) == ("undone" if leaves == "before" else "finished")
    wanted = "listening" if leaves == "before" else "suggesting"
    assert models.contents(served) == models.contents(sources[wanted])
    (target,) = made.targets.all()
    assert target.revision == ("v1" if leaves == "before" else "main")
    assert is_unchanged(target)


def test_a_malformed_record_of_the_target_is_mended(
    made: Repository, tmp_path: Path, sources: dict[str, Path]
) -> None:
    served = tmp_path / "served"
    checkout(made, "v1", DirectoryTarget(served), keep_head=True, crew=CREW)
    begin_update(made, served, sources["suggesting"])
    (record,) = (made.folder / "targets").iterdir()
    record.write_text("{")
    with made.lock():
        assert recover(made, CREW) == "undone"
    assert models.contents(served) == models.contents(sources["listening"])
    (target,) = made.targets.all()
    assert target.revision == "v1"
