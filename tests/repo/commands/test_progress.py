"""Long work says how far it is, and can be stopped at any moment."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from pvc.parallel import Crew
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.diff_trees import diff
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.status import status
from pvc.repo.repository import Repository
from pvc.weights.errors import ChangedError
from tests.repo.conftest import CREW, git
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.models import Model


class Counter:
    """Adds up what each phase reports, and what each step of it."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, int, int]] = []
        self.steps: defaultdict[str, int] = defaultdict(int)
        self._step = ""
        self._lock = threading.Lock()

    def start(self, label: str, total: int) -> None:
        with self._lock:
            self.phases.append((label, total, 0))
            self._step = label

    def label(self, text: str) -> None:
        with self._lock:
            self._step = text

    def advance(self, count: int) -> None:
        with self._lock:
            label, total, done = self.phases[-1]
            self.phases[-1] = label, total, done + count
            self.steps[self._step] += count


class Cuckoo:
    """Does something in a step, when a share of its phase is done."""

    def __init__(self, do: Callable[[], object], step: str, share: float = 0.5) -> None:
        self.do = do
        self.step = step
        self.share = share
        self.now = ""
        self.left = 0.0

    def start(self, label: str, total: int) -> None:
        self.now, self.left = label, total * self.share

    def label(self, text: str) -> None:
        self.now = text

    def advance(self, count: int) -> None:
        before, self.left = self.left, self.left - count
        if self.now == self.step and before > 0 >= self.left:
            self.do()


def test_phases_end_where_they_said(tmp_path: Path, base: Path, sources: dict[str, Path]) -> None:
    counter = Counter()
    crew = Crew(2, counter)
    (tmp_path / "work").mkdir()
    initialise(tmp_path / "work", base, by_value=True, crew=crew)
    with Repository.open(tmp_path / "work") as repository:
        commit(repository, Wish("listening"), CheckpointSource(sources["listening"]), crew)
        commit(
            repository, Wish("quiet", "base", aside=True), CheckpointSource(sources["quiet"]), crew
        )
        checkout(repository, "HEAD", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=crew)
        checkout(repository, "base", DirectoryTarget(tmp_path / "out"), keep_head=True, crew=crew)
        diff(repository, None, None, "role", crew)
        assert fsck(repository, crew).findings == ()
    labels = {label for label, _, _ in counter.phases}
    assert labels == {"Reading", "Comparing", "Writing", "Checking packs", "Checking tensors"}
    for label, total, done in counter.phases:
        assert done == total, label


def test_a_checkout_also_reports_what_it_verifies(made: Repository, tmp_path: Path) -> None:
    for revision in ("main", "v1"):  # a new directory, then in place
        counter = Counter()
        target = DirectoryTarget(tmp_path / "out")
        done = checkout(made, revision, target, keep_head=True, crew=Crew(2, counter))
        assert counter.steps["Writing"] == counter.steps["Verifying"] > 0
        assert done.written_bytes > 0


def test_a_source_that_changes_is_not_committed(
    repository: Repository, base_model: Model, tmp_path: Path
) -> None:
    source = models.save(tmp_path / "new", models.tuned(base_model, 1))
    other = models.save(tmp_path / "other", models.tuned(base_model, 2))
    head, stored = repository.git.head(), models.contents(repository.folder)

    def write() -> None:
        (source / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())

    def replace() -> None:
        (other / "model.safetensors").replace(source / "model.safetensors")

    for change in (write, replace):
        with pytest.raises(ChangedError):
            commit(
                repository,
                Wish("third"),
                CheckpointSource(source),
                Crew(2, Cuckoo(change, "Reading")),
            )
        assert repository.git.head() == head
        assert repository.edited() == ()
        now = models.contents(repository.folder)
        assert {name for name in now if name.startswith("packs")} == {
            name for name in stored if name.startswith("packs")
        }
    assert commit(repository, Wish("third"), CheckpointSource(source), CREW).applied


class Interrupt(BaseException):
    """The user's Ctrl-C, which may come anywhere."""


def interrupt() -> None:
    raise Interrupt


def test_interrupted_commits_and_checkouts(
    made: Repository, sources: dict[str, Path], tmp_path: Path
) -> None:
    before = git(made.root, "rev-parse", "HEAD"), git(made.root, "status", "--porcelain")
    source = models.save(tmp_path / "new", models.tuned(models.model(), 31))
    with pytest.raises(Interrupt):
        commit(
            made,
            Wish("third", aside=True),
            CheckpointSource(source),
            Crew(2, Cuckoo(interrupt, "Reading")),
        )
    for known in (False, True):
        for step, share in (("Writing", 0.25), ("Verifying", 0.75)):
            with pytest.raises(Interrupt):
                checkout(
                    made, "v1", DirectoryTarget(tmp_path / "out"), keep_head=False,
                    crew=Crew(2, Cuckoo(interrupt, step, share)),
                )  # fmt: skip
            if known:
                assert models.contents(tmp_path / "out") == models.contents(sources["suggesting"])
            else:
                assert not (tmp_path / "out").exists()
        checkout(made, "main", DirectoryTarget(tmp_path / "out"), keep_head=False, crew=CREW)
    after = git(made.root, "rev-parse", "HEAD"), git(made.root, "status", "--porcelain")
    assert after == before
    found = status(made)
    assert (found.interrupted, found.targets[0].state) == (False, "clean")
    assert fsck(made, CREW).findings == ()
    assert list((made.folder / "tmp").iterdir()) == []
