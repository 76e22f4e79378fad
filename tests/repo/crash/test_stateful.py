"""Random histories: whatever is done, the repository says what a ledger of dictionaries says."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pvc.errors import PvcError
from pvc.parallel import Crew
from pvc.repo.commands.branches import create_branch, create_tag, switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.revert import revert
from pvc.repo.commands.status import status
from pvc.repo.git import UnfinishedError
from pvc.repo.repository import Repository
from pvc.repo.snapshot import Snapshot
from tests.support import models
from tests.support.histories import run
from tests.support.ledger import (
    Content,
    Held,
    Ledger,
    NeedsArithmetic,
    Refused,
    Saved,
    Vector,
    renamed,
    tree_id,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pvc.repo.targets.directory_record import DirectoryRecord
    from tests.support.models import Model

T = TypeVar("T")
CREW = Crew(threads=1)
SHAPES = {"model.embed_tokens.weight": (24, 16), "model.norm.weight": (16,)}
NAMES = st.sampled_from(["listening", "brevity", "calm"])
REFS = st.sampled_from(["side", "later", "topic", "calm"])
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
        self.commit_a_result("listening", True, None, False, 1, 1)
        self.commit_a_result("brevity", True, "HEAD", False, 2, 1)
        self.commit_a_result("spare", False, "base", True, 3, 1)
        self.check_out("HEAD", 0, False)

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
        """Do something, and see that the ledger foresaw the outcome; sums are left out."""
        expected: type[PvcError] | None = None
        try:
            foreseen = foresee()
        except NeedsArithmetic:
            return None
        except Refused as refused:
            foreseen, expected = None, refused.error
        if expected is None:
            act()
        else:
            with pytest.raises(PvcError) as caught:
                act()
            assert issubclass(caught.type, expected), caught.value
        return foreseen

    def commit_of(self, index: int) -> str:
        listed = list(self.ledger.commits)
        return listed[index % len(listed)]

    def committed(self, saved: Saved | None) -> None:
        """HEAD's branch has a new commit that says this."""
        if saved is None:
            return
        head = self.git("rev-parse", "HEAD")
        for name, vector in saved.vectors.items():
            text = (self.folder / "work" / "vectors" / f"{name}.json").read_bytes()
            if blob_id(text) not in self.blobs:
                found = json.loads(text)
                assert found["from"] == vector.origin.hex()
                assert found["to"] == vector.result.tree.hex()
                self.blobs[blob_id(text)] = replace(vector, text=text)
        self.blobs |= {blob_id(text): text for text in saved.behaviours.values()}
        self.ledger.commits[head] = self.read(head)
        assert self.ledger.commits[head] == saved
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
        source = CheckpointSource(self.folder / place)
        done = self.attempt(
            lambda: self.ledger.commit(name, content, None, onto, aside),
            lambda: commit(self.repository, Wish(name, onto, aside), source, CREW),
        )
        self.committed(done and done[0])

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX, seed=SEEDS, shards=SHARDS)
    def train_a_target(self, index: int, seed: int, shards: int) -> None:
        path, held = self.target(index)
        if held.now is not None:
            content = self.trained(path, held.content.tree, seed, shards)
            self.ledger.targets[path] = replace(held, now=content, touched=True)

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX, seed=SEEDS, shards=SHARDS)
    def train_on(self, index: int, seed: int, shards: int) -> None:
        """Train what the last term led to, and commit it under the same name."""
        self.train_a_target(index, seed, shards)
        if self.ledger.now.terms:
            self.commit_a_target(index, self.ledger.now.terms[-1], aside=False)

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX, name=NAMES, aside=st.booleans())
    def commit_a_target(self, index: int, name: str, aside: bool) -> None:
        path, held = self.target(index)
        source = held.now
        if source is None:
            return
        done = self.attempt(
            lambda: self.ledger.commit(name, source, path, None, aside),
            lambda: commit(self.repository, Wish(name, aside=aside), CheckpointSource(path), CREW),
        )
        if done is not None:
            self.committed(done[0])
            self.ledger.targets[path] = done[1] or held

    def target(self, index: int) -> tuple[Path, Held]:
        listed = sorted(self.ledger.targets.items())
        return listed[index % len(listed)]

    # Checking out

    @rule(
        text=st.one_of(NAMES, REFS, st.sampled_from(["base", "HEAD", "main", "v1"]), INDEX),
        place=st.sampled_from([None, 0, 1]),
        keep_head=st.booleans(),
    )
    def check_out(self, text: str | int, place: int | None, keep_head: bool) -> None:
        revision = self.commit_of(text) if isinstance(text, int) else text
        to = None if place is None else self.places[place]
        done = self.attempt(
            lambda: self.ledger.checkout(revision, to, keep_head),
            lambda: checkout(
                self.repository, revision, DirectoryTarget(to), keep_head=keep_head, crew=CREW
            ),
        )
        if done is None:
            return
        named, path = done
        if path is not None:
            content = self.ledger.build(named.saved)
            self.ledger.targets[path] = Held(content, self.ledger.terms_of(named), content)
        if named.commit and not keep_head:
            self.ledger.stand(named.branch, named.commit)

    @precondition(lambda self: self.ledger.targets)
    @rule(index=INDEX)
    def remove_a_target(self, index: int) -> None:
        path, held = self.target(index)
        shutil.rmtree(path, ignore_errors=True)
        self.ledger.targets[path] = replace(held, now=None)

    # Branches and tags

    @rule(name=st.one_of(REFS, st.just("main")), create=st.booleans())
    def switch_branch(self, name: str, create: bool) -> None:
        def foresee() -> bool:
            self.ledger.switch(name, create)
            return True

        if self.attempt(foresee, lambda: switch(self.repository, name, create=create)):
            self.ledger.stand(name, self.ledger.head if create else self.ledger.branches[name])

    @rule(
        name=st.one_of(REFS, st.just("v1")),
        other=st.sampled_from([False] * 7 + [True]),
        index=INDEX,
    )
    def make_a_branch_or_tag(self, name: str, other: bool, index: int) -> None:
        """Only v1 is a tag, but for once in a while."""
        start, tag = self.commit_of(index), (name == "v1") != other
        create, known = create_branch, self.ledger.branches
        if tag:
            create, known = create_tag, self.ledger.tags

        def foresee() -> bool:
            self.ledger.create(name, tag=tag)
            return True

        if self.attempt(foresee, lambda: create(self.repository, name, start)):
            known[name] = start

    # Changing vectors and terms

    def vector(self, index: int) -> str:
        listed = sorted(self.ledger.now.vectors)
        return listed[index % len(listed)]

    @precondition(lambda self: self.ledger.now.vectors)
    @rule(index=INDEX)
    def remove_a_vector(self, index: int) -> None:
        name = self.vector(index)
        saved = self.attempt(
            lambda: self.ledger.remove(name), lambda: remove(self.repository, name)
        )
        self.committed(saved)

    @precondition(lambda self: self.ledger.now.vectors)
    @rule(index=INDEX, new=st.one_of(NAMES, st.just("another")))
    def rename_a_vector(self, index: int, new: str) -> None:
        old = self.vector(index)
        saved = self.attempt(
            lambda: self.ledger.rename(old, new), lambda: rename(self.repository, old, new)
        )
        if saved is not None:
            self.committed(saved)
            for path, held in self.ledger.targets.items():
                self.ledger.targets[path] = replace(held, terms=renamed(held.terms, old, new))

    @rule(index=INDEX)
    def revert_a_commit(self, index: int) -> None:
        undone = self.commit_of(index)
        parents = self.git("rev-list", "--parents", "-n", "1", undone).split()[1:]
        saved = self.attempt(
            lambda: self.ledger.revert(undone, parents), lambda: revert(self.repository, undone)
        )
        self.committed(saved)

    # Editing by hand

    @precondition(lambda self: self.ledger.edits is None)
    @rule(
        what=st.sampled_from(["describe", "drop", "use", "scale"]),
        name=NAMES,
        and_commit=st.booleans(),
    )
    def edit(self, what: str, name: str, and_commit: bool) -> None:
        now, root = self.ledger.now, self.folder / "work"
        edited = now
        if what == "describe":
            purpose = b"purpose = 'number %d'\n" % self.number()
            (root / "behaviours").mkdir(exist_ok=True)
            (root / "behaviours" / f"{name}.toml").write_bytes(purpose)
            edited = replace(now, behaviours={**now.behaviours, name: purpose})
        elif what == "drop":
            edited = replace(now, terms=now.terms[:-1])
        elif what == "use":
            edited = replace(now, terms=(*now.terms, name))
        elif now.terms:
            edited = replace(now, last_scale=0.5)
        if edited == now:
            return
        if what != "describe":
            terms = [f'[[term]]\nvector = "{term}"\n' for term in edited.terms]
            text = "\n".join(terms) + (f"scale = {edited.last_scale}\n" if terms else "")
            (root / "personality.toml").write_text(text)
        self.ledger.edits = edited
        if and_commit:
            self.commit_the_edits()

    @precondition(lambda self: self.ledger.edits is not None)
    @rule()
    def commit_the_edits(self) -> None:
        saved = self.attempt(
            self.ledger.commit_edits, lambda: commit_edits(self.repository, "By hand")
        )
        if saved is not None:
            self.ledger.edits = None
            self.committed(saved)

    @precondition(lambda self: self.ledger.edits is not None)
    @rule()
    def drop_the_edits(self) -> None:
        self.git("checkout", "--", ".")
        self.git("clean", "-fdq")
        self.ledger.edits = None

    # Plain git

    @rule(what=st.sampled_from(["amend", "reset", "merge", "stash", "open again"]), index=INDEX)
    def use_plain_git(self, what: str, index: int) -> None:
        edited = self.ledger.edits is not None
        if what == "amend":
            self.git("commit", "--amend", "-m", f"Amended {self.number()}")
        elif what == "reset" and not edited:
            self.git("reset", "--hard", self.commit_of(index))
        elif what == "merge" and not edited:
            self.merge(sorted(self.ledger.branches)[index % len(self.ledger.branches)])
        elif what == "stash" and edited:
            self.git("stash", "--include-untracked")
            assert self.repository.edited() == ()
            self.git("stash", "pop")
        elif what == "open again":
            self.open.close()
            self.repository = self.open.enter_context(Repository.open(self.folder / "work"))
        self.follow_git()

    def merge(self, name: str) -> None:
        try:
            self.git("merge", "--no-edit", f"refs/heads/{name}")
        except subprocess.CalledProcessError as error:
            if "unrelated histories" in error.stderr:  # where the very first commit was amended
                return
            assert status(self.repository).unfinished == "merge"
            with pytest.raises(UnfinishedError):
                commit_edits(self.repository, "Not now")
            self.git("merge", "--abort")

    # What must hold

    @invariant()
    def all_agree(self) -> None:
        ledger = self.ledger
        content = ledger.built(ledger.now)
        found = status(self.repository)
        assert (found.branch, found.commit) == (ledger.branch, ledger.head)
        assert tuple(term.vector for term in found.personality.terms) == ledger.now.terms
        assert found.tree == (None if content is None else content.tree)
        assert set(found.aside) == set(ledger.now.vectors) - set(ledger.now.terms)
        assert bool(found.edited) == (ledger.edits is not None)
        assert not found.interrupted
        states = {each.path: (each.state, each.tree, each.is_head) for each in found.targets}
        assert states == {
            path: (state_of(held), held.content.tree, held.content.tree == found.tree)
            for path, held in ledger.targets.items()
        }
        for path, held in ledger.targets.items():
            assert models.contents(path) == ({} if held.now is None else held.now.files)
        known = {target.path: terms_of(target) for target in self.repository.targets.all()}
        assert known == {path: held.terms for path, held in ledger.targets.items()}

    def everything_is_still_there(self) -> None:
        """Fsck is content, and every commit can be checked out as it was."""
        assert fsck(self.repository, CREW).findings == ()
        written: dict[tuple[bytes, bytes], Mapping[str, bytes]] = {}
        for head, saved in self.ledger.commits.items():
            wanted = self.ledger.built(saved)
            if wanted is None:
                continue
            built = models.built(Snapshot(self.repository.git, head))
            key = built.tree, built.layout
            if key not in written:
                path = self.folder / f"again-{len(written)}"
                checkout(self.repository, head, DirectoryTarget(path), keep_head=True, crew=CREW)
                written[key] = models.contents(path)
            assert built.tree == wanted.tree
            assert written[key] == wanted.files
        base = self.ledger.base
        assert models.contents(self.folder / "base") == base.files


def terms_of(target: DirectoryRecord) -> tuple[str, ...] | None:
    return None if target.terms is None else tuple(term.vector for term in target.terms)


def state_of(held: Held) -> str:
    if held.now is None:
        return "missing"
    return "changed" if held.touched else "clean"


def blob_id(data: bytes) -> str:
    """What git calls a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def test_histories() -> None:
    run(Histories, 25, 20)


@pytest.mark.torture
def test_many_long_histories() -> None:
    run(Histories, 300, 50)
