"""Operations that are killed, what they start from, and what they lead to."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.parallel import Crew
from pvc.repo.commands.branches import create_branch, switch
from pvc.repo.commands.checkout import checkout
from pvc.repo.commands.checkout_directory import DirectoryTarget
from pvc.repo.commands.commit import Wish, commit
from pvc.repo.commands.commit_edits import commit_edits
from pvc.repo.commands.commit_source import CheckpointSource
from pvc.repo.commands.fsck import fsck
from pvc.repo.commands.init import initialise
from pvc.repo.commands.merge_branch import merge_branch
from pvc.repo.commands.remove import remove
from pvc.repo.commands.rename import rename
from pvc.repo.commands.revert import revert
from pvc.repo.commands.scale import Scaling, rescale
from pvc.repo.commands.status import status
from pvc.repo.git import NoRepositoryError
from pvc.repo.history.journal import JournalFile
from pvc.repo.history.recovery import recover
from pvc.repo.repository import Repository
from pvc.repo.snapshot import NotPvcError
from pvc.repo.targets.directory_record import DirectoryRecord, DirectoryRecords
from pvc.repo.targets.home import Home, Identity
from pvc.weights.fingerprint import stamp_now
from tests.support import models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CREW = Crew(threads=1)
STATISTICS = ("stored_bytes",)
OTHER_FILES = {
    "config.json": b'{"model_type": "tiny", "torch_dtype": "bfloat16"}\n',
    "tokenizer.json": models.FILES["tokenizer.json"],
    "extra/deep/notes.txt": b"new\n",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Folders of the trials.

    Attributes:
        home: holds everything else.
    """

    home: Path

    @property
    def stage(self) -> Path:
        """Where trials run, always the same folder: targets are known by their absolute path."""
        return self.home / "stage"

    @property
    def work(self) -> Path:
        """The working tree."""
        return self.stage / "work"

    @property
    def store(self) -> Path:
        """What pvc keeps beside git's own."""
        return self.work / ".git" / "pvc"

    @property
    def served(self) -> Path:
        """The target."""
        return self.work / "served"

    def model(self, name: str) -> Path:
        """A checkpoint that no trial may touch."""
        return self.home / "models" / name

    def template(self, name: str) -> Path:
        """A state of the stage from which trials start."""
        return self.home / "templates" / name

    def open(self) -> Repository:
        """The repository."""
        return Repository.open(self.work)

    def targets(self) -> list[DirectoryRecord]:
        """The records of its targets."""
        if not self.store.exists():
            return []
        return DirectoryRecords(self.store / "targets", Home.at(self.store.parent)).all()

    def restore(self, name: str) -> None:
        """Put the stage into the state of a template."""
        shutil.rmtree(self.stage, ignore_errors=True)
        shutil.copytree(self.template(name), self.stage, symlinks=True)
        if not self.store.exists():
            return
        home = Home.at(self.store.parent)
        targets = DirectoryRecords(self.store / "targets", home)
        for target in targets.of_others():  # the template's
            stamps = {file: stamp_now(target.path / file) for file in target.stamps}
            present = {file: stamp for file, stamp in stamps.items() if stamp is not None}
            new = replace(target, home=home, identity=Identity.of(target.path))
            targets.save(new if name == "trained" else replace(new, stamps=present))


@dataclass(frozen=True, slots=True)
class Scene:
    """An operation.

    Attributes:
        name: of the scene.
        start: the template it starts from.
        run: the operation.
        part: an operation that does a part of it; this part alone is a good state, too.
    """

    name: str
    start: str
    run: Callable[[Place], object]
    part: Callable[[Place], object] | None = None


def _commit(place: Place, name: str, **options: object) -> None:
    wish = Wish(name, **options)  # type: ignore[arg-type]
    with place.open() as repository:
        commit(repository, wish, CheckpointSource(place.model(name)), CREW)


def _extend(place: Place) -> None:
    with place.open() as repository:
        commit(repository, Wish("brevity"), CheckpointSource(place.served), CREW)


def _edits(place: Place) -> None:
    with place.open() as repository:
        commit_edits(repository, "By hand")


def _checkout(place: Place, text: str, to: Path | None = None, keep_head: bool = False) -> None:
    with place.open() as repository:
        checkout(repository, text, DirectoryTarget(to), keep_head=keep_head, crew=CREW)


def _init(place: Place) -> None:
    initialise(place.work, place.model("base"), by_value=True, crew=CREW)


def _rename(place: Place) -> None:
    with place.open() as repository:
        rename(repository, "brevity", "shortness")


def _remove(place: Place) -> None:
    with place.open() as repository:
        remove(repository, "spare")


def _revert(place: Place) -> None:
    with place.open() as repository:
        revert(repository, "HEAD~2")


def _scale(place: Place) -> None:
    with place.open() as repository:
        rescale(repository, Scaling("spare", 0.5))


def _merge(place: Place) -> None:
    with place.open() as repository:
        merge_branch(repository, "later")


SUM = "base + listening - 0.5*spare"

# fmt: off
SCENES = (
    Scene("commit first", "fresh", lambda place: _commit(place, "listening")),
    Scene("commit extend", "trained", _extend),
    Scene("commit aside", "rich", lambda place: _commit(place, "calm", aside=True)),
    Scene("commit edits", "edited", _edits),
    Scene(
        "checkout new",
        "rich",
        lambda p: _checkout(p, "HEAD~1", p.stage / "a" / "b"),
        lambda p: _checkout(p, "HEAD~1", p.stage / "a" / "b", True),
    ),
    Scene("checkout vector", "rich", lambda p: _checkout(p, "listening", p.work / "tried")),
    Scene("checkout back", "rich", lambda p: _checkout(p, "first")),
    Scene("checkout branch", "rich", lambda p: _checkout(p, "later")),
    Scene("checkout keep", "rich", lambda p: _checkout(p, "first", keep_head=True)),
    Scene("checkout layout", "rich", lambda p: _checkout(p, "later", p.served, True)),
    Scene("init", "empty", _init),
    Scene("init within", "code", _init),
    Scene("mv", "rich", _rename),
    Scene("rm", "rich", _remove),
    Scene("revert", "rich", _revert),
    Scene("scale", "rich", _scale),
    Scene("merge", "parted", _merge),
    Scene("checkout sum", "rich", lambda place: _checkout(place, SUM, place.served, True)),
    Scene("checkout new sum", "rich", lambda place: _checkout(place, SUM, place.work / "sum")),
)
# fmt: on


def git(place: Place, *arguments: str) -> str:
    """What plain git says."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=place.work, check=True, capture_output=True, text=True)
    return done.stdout


def make_models(place: Place) -> None:
    """All checkpoints: fine-tunes of the base, one after the other, and beside each other."""
    base = models.model()
    listening = models.tuned(base, 1)
    brevity = models.tuned(listening, 2, names=["model.embed_tokens.weight"])
    models.save(place.model("base"), base)
    models.save(place.model("listening"), listening)
    models.save(place.model("brevity"), brevity)
    models.save(place.model("trained"), models.tuned(brevity, 3))
    models.save(place.model("gentle"), models.tuned(brevity, 4), shards=2, files=OTHER_FILES)
    for seed, name in enumerate(("spare", "calm", "another"), 5):
        models.save(place.model(name), models.tuned(base, seed, names=["model.norm.weight"]))


def make_templates(place: Place) -> None:
    """All templates."""
    place.work.mkdir(parents=True)
    keep(place, "empty")
    make_code(place)
    keep(place, "code")
    place.restore("empty")
    _init(place)
    keep(place, "fresh")
    make_rich(place)
    keep(place, "rich")
    shutil.copytree(place.model("trained"), place.served, dirs_exist_ok=True)
    keep(place, "trained")
    place.restore("rich")
    make_edits(place)
    keep(place, "edited")
    place.restore("rich")
    _scale(place)
    keep(place, "parted")


def keep(place: Place, name: str) -> None:
    """Keep the stage as a template."""
    shutil.copytree(place.stage, place.template(name), symlinks=True)


def make_code(place: Place) -> None:
    """A git repository of somebody who does not use pvc yet."""
    git(place, "init", "--quiet")
    (place.work / "code.py").write_text("print(1)\n")
    git(place, "add", "code.py")
    git(place, "commit", "--quiet", "-m", "Code")
    make_habits(place)


def make_habits(place: Place) -> None:
    """What somebody has edited and staged, and is none of pvc's business."""
    (place.work / "code.py").write_text("print(2)\n")
    (place.work / "staged.txt").write_text("staged\n")
    git(place, "add", "staged.txt")
    (place.work / "untracked.txt").write_text("untracked\n")


def make_rich(place: Place) -> None:
    """Vectors, branches, a target, and edits that are none of pvc's."""
    (place.work / "code.py").write_text("print(1)\n")
    git(place, "add", "code.py")
    git(place, "commit", "--quiet", "-m", "Code")
    _commit(place, "listening")
    with place.open() as repository:
        create_branch(repository, "first", "HEAD")
    _commit(place, "brevity", onto="HEAD")
    (place.work / "behaviours").mkdir()
    (place.work / "behaviours" / "brevity.toml").write_text('purpose = "say less"\n')
    _edits(place)
    _commit(place, "spare", aside=True)
    with place.open() as repository:
        switch(repository, "later", create=True)
    _commit(place, "gentle", onto="HEAD")
    with place.open() as repository:
        switch(repository, "main", create=False)
    _checkout(place, "main", place.served)
    make_habits(place)


def make_edits(place: Place) -> None:
    """Edits of pvc's own files."""
    path = place.work / "personality.toml"
    path.write_text("# by hand\n" + path.read_text())
    (place.work / "vectors" / "spare.json").unlink()
    (place.work / "behaviours" / "listening.toml").write_text('purpose = "listen"\n')


@dataclass(frozen=True)
class Snapshot:
    """All that matters of the stage.

    Attributes:
        head: branch, or "(detached)", and commit.
        refs: branches and tags.
        files: digests of all files outside of git's directory; those of vectors without what
            depends on what the store held before.
        status: what git says of files and index.
        targets: what pvc has written where.
    """

    head: tuple[str, str]
    refs: str
    files: dict[str, str]
    status: str
    targets: tuple[object, ...]

    def differences(self, other: Snapshot) -> list[str]:
        """In what two snapshots differ, in words."""
        found = [
            f"{name}: {getattr(self, name)!r} instead of {getattr(other, name)!r}"
            for name in ("head", "refs", "status", "targets")
            if getattr(self, name) != getattr(other, name)
        ]
        paths = sorted(self.files.keys() | other.files.keys())
        return found + [
            f"{path}: {'differs' if self.files.get(path) and other.files.get(path) else 'is there'}"
            for path in paths
            if self.files.get(path) != other.files.get(path)
        ]

    def content(self) -> Snapshot:
        """The same without the ids of commits."""
        return replace(self, head=("", ""), refs="")


def snapshot(place: Place) -> Snapshot:
    """The stage as it is now."""
    commit, branch, refs, status = "", "", "", ""
    if (place.work / ".git" / "HEAD").exists():
        options = ("--porcelain=v2", "--branch", "-z", "--untracked-files=all")
        lines = git(place, "status", *options).split("\0")
        commit, branch = (line.split()[-1] for line in lines[:2])
        status = "\n".join(line for line in lines if not line.startswith("#"))
        refs = git(place, "for-each-ref", "refs/heads", "refs/tags")
    targets = place.targets()
    return Snapshot(
        ("", "") if commit == "(initial)" else (branch, commit),
        refs,
        dict(_digests(place)),
        status,
        tuple((t.path, t.tree, t.layout, t.revision, t.terms) for t in targets),
    )


def _digests(place: Place) -> Iterator[tuple[str, str]]:
    for folder, folders, names in os.walk(place.stage):
        if ".git" in folders:
            folders.remove(".git")
        for name in names:
            path = Path(folder, name)
            relative = path.relative_to(place.stage).as_posix()
            yield relative, _digest(relative, path.read_bytes())


def _digest(path: str, data: bytes) -> str:
    if path.startswith("work/vectors/") and path.endswith(".json") and data.startswith(b"{"):
        document = json.loads(data)
        for name in STATISTICS:
            document["statistics"].pop(name)
        data = json.dumps(document).encode()
    return sha256(data).hexdigest()


def leftovers(place: Place) -> list[str]:
    """What a killed process left behind and nobody removed."""
    store = place.store
    found = [path for path in place.stage.rglob("*") if path.name.endswith((".tmp", ".pvc-tmp"))]
    found += [path for path in store.parent.rglob("*.lock") if path.parent != store]
    found += [*store.glob("journal.json"), *store.glob("*index-*"), *store.glob("tmp/*")]
    return sorted(os.fspath(path.relative_to(place.stage)) for path in found)


# After a crash


def settle(place: Place) -> None:
    """What every command that changes something does first."""
    with contextlib.suppress(NoRepositoryError), place.open() as repository, repository.lock():
        recover(repository, CREW)


def examine(
    place: Place, scene: Scene, states: tuple[Snapshot, Snapshot, Snapshot]
) -> tuple[str, list[str]]:
    """Use the stage after a crash: which of its states it is in, and what is wrong with it.

    Args:
        place: the folders.
        scene: the operation.
        states: the stage before it, after a part of it, and after it.
    """
    read(place)
    settle(place)
    found = snapshot(place)
    sides = [found.differences(state) for state in states]
    if all(sides):
        return "neither", [f"before: {sides[0]}", f"afterwards: {sides[2]}"]
    problems = check(place, found)
    if sides[2]:
        scene.run(place)
        again = snapshot(place).content().differences(states[2].content())
        problems += [f"the same again leads elsewhere: {line}" for line in again]
    else:
        write_more(place)
    problems += [f"left over: {path}" for path in leftovers(place)]
    return ("old", "part", "new")[sides.index([])], problems


def read(place: Place) -> None:
    """Commands that only read work at once, if there is something to read."""
    with contextlib.suppress(NoRepositoryError, NotPvcError), place.open() as repository:
        journal = JournalFile(repository).read()
        if status(repository).interrupted != (journal is not None):
            raise RuntimeError("status does not tell that an operation was interrupted")


def check(place: Place, found: Snapshot) -> list[str]:
    """What is wrong with a repository, if there is one."""
    if not found.head[1] or "work/pvc.toml" not in found.files:
        return []
    with place.open() as repository:
        findings = [f"fsck: {finding}" for finding in fsck(repository, CREW).findings]
        if repository.git.unfinished():
            findings.append(f"git is not done with a {repository.git.unfinished()}")
    return findings


def write_more(place: Place) -> None:
    """Another operation, which must find everything in order."""
    with place.open() as repository:
        if repository.git.branch() is None:
            switch(repository, "anew", create=True)
        commit(
            repository, Wish("another", aside=True), CheckpointSource(place.model("another")), CREW
        )
