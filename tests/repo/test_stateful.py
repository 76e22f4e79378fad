"""Random histories: whatever is done, the repository says what a ledger of dictionaries says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pvc.errors import PvcError
from pvc.repo.checkout import checkout
from pvc.repo.commit import Wish, commit
from pvc.repo.edits import commit_edits, remove, rename, revert
from pvc.repo.fsck import fsck
from pvc.repo.git import UnfinishedError
from pvc.repo.initialise import initialise
from pvc.repo.personality import Personality, Term
from pvc.repo.refs import create_branch, create_tag, switch
from pvc.repo.repository import Repository
from pvc.repo.state import State
from pvc.repo.status import status
from pvc.repo.workers import Crew
from tests.repo import models
from tests.repo.ledger import Content, Held, Ledger, Refused, Saved, Vector, renamed, tree_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.repo.models import Model

T = TypeVar("T")
CREW = Crew(threads=1)
SHAPES = {"model.embed_tokens.weight": (24, 16), "model.norm.weight": (16,)}
NAMES = st.sampled_from(["listening", "brevity", "calm"])
REFS = st.sampled_from(["side", "later", "calm"])
INDEX = st.integers(0, 99)
SEEDS = st.integers(1, 4)
SHARDS = st.sampled_from([1, 1, 2])


class Histories(RuleBasedStateMachine):
    """One repository, and its ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()).resolve()
        self.count = 0
        self.blobs: dict[str, Vector | bytes] = {}
        self.open: contextlib.ExitStack = contextlib.ExitStack()

    @initialize()
    def begin(self) -> None:
        root = self.folder / "work"
        root.mkdir()
        first = models.model(shapes=SHAPES)
        base = Content(tree_id(first), models.contents(self.save("base", first, 1)))
        initialise(root, self.folder / "base", by_value=True, crew=CREW)
        self.repository = self.open.enter_context(Repository.open(root))
        head = self.git("rev-parse", "HEAD")
        self.ledger = Ledger(
            base, {base.tree: first}, {head: Saved()}, {"main": head}, "main", head
        )
        self.places = (self.folder / "outside", root / "served")

    def teardown(self) -> None:
        with self.open:
            if hasattr(self, "ledger"):
                self.everything_is_still_there()
        shutil.rmtree(self.folder)

    # Tools

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=self.folder / "work", check=True, capture_output=True, text=True
        )
        return done.stdout.strip("\n")

    def number(self) -> int:
        self.count += 1
        return self.count

    def save(self, place: Path | str, model: Model, shards: int) -> Path:
        """Save a checkpoint as trainers do: files are new ones, also where others were."""
        directory = self.folder / place
        for path in models.contents(directory):
            (directory / path).unlink()
        files = {**models.FILES, "config.json": b'{"shards": %d}\n' % shards}
        return models.save(directory, model, shards=shards, files=files)

    def trained(self, place: Path | str, start: bytes, seed: int, shards: int) -> Content:
        model = models.tuned(self.ledger.models[start], seed)
        content = Content(tree_id(model), models.contents(self.save(place, model, shards)))
        self.ledger.models.setdefault(content.tree, model)
        return content

    def attempt(self, foresee: Callable[[], T], act: Callable[[], object]) -> T | None:
        """Do something, and see that the ledger foresaw the outcome."""
        try:
            foreseen = foresee()
        except Refused as refused:
            with pytest.raises(PvcError) as caught:
                act()
            assert caught.type is refused.error, caught.value
            return None
        act()
        return foreseen

    def commit_of(self, index: int) -> str:
        listed = list(self.ledger.commits)
        return listed[index % len(listed)]

    def committed(self, saved: Saved | None) -> None:
        """HEAD's branch has a new commit that says this."""
        if saved is None:
            return
        head = self.git("rev-parse", "HEAD")
        assert head not in self.ledger.commits
        for name, vector in saved.vectors.items():
            text = (self.folder / "work" / "vectors" / f"{name}.json").read_bytes()
            if blob_id(text) not in self.blobs:
                found = json.loads(text)
                assert found["from"] == vector.origin.hex()
                assert found["to"] == vector.result.tree.hex()
                self.blobs[blob_id(text)] = vector
        self.blobs |= {blob_id(text): text for text in saved.behaviours.values()}
        assert self.read(head) == saved
        self.ledger.commits[head] = saved
        self.ledger.stand(self.ledger.branch, head)

    def read(self, head: str) -> Saved:
        """What a commit says, read with git alone."""
        document = tomllib.loads(self.git("show", f"{head}:personality.toml"))
        terms = tuple(term["vector"] for term in document.get("term", []))
        files: dict[str, dict[str, Vector | bytes]] = {"vectors": {}, "behaviours": {}}
        for line in self.git("ls-tree", "-r", head).splitlines():
            (_, _, blob), path = line.split("\t")[0].split(), Path(line.split("\t")[1])
            if path.parent.name in files:
                files[path.parent.name][path.stem] = self.blobs[blob]
        return Saved(terms, **files)  # type: ignore[arg-type]

    def follow_git(self) -> None:
        """Plain git did something to HEAD."""
        head = self.git("rev-parse", "HEAD")
        if head not in self.ledger.commits:
            self.ledger.commits[head] = self.read(head)
        self.ledger.stand(self.ledger.branch, head)

    # Committing

    @rule(
        name=NAMES,
        on_head=st.booleans(),
        onto=st.sampled_from([None, "HEAD", "base", "listening"]),
        aside=st.booleans(),
        seed=SEEDS,
        shards=SHARDS,
    )
    def commit_a_result(
        self, name: str, on_head: bool, onto: str | None, aside: bool, seed: int, shards: int
    ) -> None:
        head = self.ledger.built(self.ledger.now)
        start = head if head is not None and on_head else self.ledger.base
        place = f"result-{self.number()}"
        content = self.trained(place, start.tree, seed, shards)
        wish = Wish(name, self.folder / place, onto, aside)
        done = self.attempt(
            lambda: self.ledger.commit(name, content, None, onto, aside),
            lambda: commit(self.repository, wish, CREW),
        )
        self.committed(done and done[0])

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX, seed=SEEDS, shards=SHARDS)
    def train_a_target(self, index: int, seed: int, shards: int) -> None:
        path, held = self.target(index)
        if held.files:
            content = self.trained(path, held.content.tree, seed, shards)
            self.ledger.targets[path] = Held(held.content, held.terms, content.files, True)

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX, name=NAMES, aside=st.booleans())
    def commit_a_target(self, index: int, name: str, aside: bool) -> None:
        path, held = self.target(index)
        trained = [
            content
            for content in self.contents()
            if content.files == held.files
        ]
        if not trained:
            return
        done = self.attempt(
            lambda: self.ledger.commit(name, trained[0], path, None, aside),
            lambda: commit(self.repository, Wish(name, path, aside=aside), CREW),
        )
        if done is not None:
            self.committed(done[0])
            assert done[1] is not None
            self.ledger.targets[path] = done[1]
