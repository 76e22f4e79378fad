"""Fsck: whether everything that history needs is there, and is what its name says.

Looked at: git's objects; every manifest at every commit that any ref, reflog, note or worktree
reaches; trees and layouts they name; packs by BLAKE3; every block by its key; every tensor and file
by its BLAKE3; the base.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc.errors import PvcError
from pvc.repo import config, personality, workers
from pvc.repo.blocks import BaseFiles, Blocks, MissingBaseError
from pvc.repo.config import Config
from pvc.repo.directory import Content
from pvc.repo.git import GitError
from pvc.repo.outfile import as_tensor
from pvc.repo.personality import Personality
from pvc.repo.state import PATHS, vector_name
from pvc.repo.target import TargetError
from pvc.repo.vector import DIRECTORY, CapturedVector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.repo.repository import Repository
    from pvc.repo.target import Target
    from pvc.repo.workers import Crew, Stop
    from pvc_store.layout import Layout
    from pvc_store.tree import Tensor, Tree


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is broken.

    Attributes:
        what: sort of object: "git", "manifest", "target", "tree", "layout", "pack", "base",
            "block" or "tensor".
        name: which one.
        detail: one sentence.
        dependents: what depends on it: vectors with their commits, "the base".
    """

    what: str
    name: str
    detail: str
    dependents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What fsck looked at, and what it found.

    Attributes:
        commits: commits whose manifests were read.
        trees: trees that were checked.
        blocks: different blocks that were decoded.
        findings: what is broken; empty if nothing is.
    """

    commits: int
    trees: int
    blocks: int
    findings: tuple[Finding, ...]


@dataclass
class _Roots:
    """What history refers to, and from where."""

    trees: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))
    layouts: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))
    files: set[tuple[bytes, bytes]] = field(default_factory=set)
    bases: dict[bytes, Config] = field(default_factory=dict)
    base_of: dict[bytes, bytes] = field(default_factory=dict)

    def add(self, tree: bytes, layout: bytes, dependent: str) -> None:
        """Something needs a tree, and a layout by which it becomes files."""
        self.trees[tree].add(dependent)
        self.layouts[layout].add(dependent)
        self.files.add((tree, layout))


def fsck(repository: Repository, crew: Crew) -> Report:
    """Check a repository; changes nothing.

    It takes no lock: objects are there before anything names them.
    """
    return _Fsck(repository, crew).run()


class _Fsck:
    def __init__(self, repository: Repository, crew: Crew) -> None:
        self.repository = repository
        self.store = repository.store
        self.crew = crew
        self.roots = _Roots()
        self.findings: dict[tuple[str, str], Finding] = {}
        self.checked: set[bytes] = set()

    def run(self) -> Report:
        self._git()
        commits = self._commits()
        for commit in commits:
            self._commit(commit)
        for target in self._targets():
            self.roots.add(target.tree, target.layout, f"the target {target.path}")
        self._stored()
        trees = self._trees()
        return Report(len(commits), trees, len(self.checked), tuple(self.findings.values()))

    def _git(self) -> None:
        try:
            self.repository.git.run("fsck", "--full", "--no-dangling", "--no-progress")
        except GitError as error:
            self._add("git", "objects", error.detail)

    def _commits(self) -> list[str]:
        try:
            listed = self.repository.git.run(
                "rev-list", "--all", "--reflog", "--full-history", "HEAD", "--", *PATHS
            )
        except GitError as error:
            self._add("git", "history", error.detail)
            return []
        return listed.split()

    def _targets(self) -> list[Target]:
        try:
            return self.repository.targets.all()
        except TargetError as error:
            self._add("target", error.where, error.detail)
            return []

    # Manifests

    def _commit(self, commit: str) -> None:
        """Read what one commit says, and note what it refers to."""
        git, where = self.repository.git, commit[:10]
        try:
            text = git.read(commit, config.PATH)
            if text is None:
                return
            pinned = Config.parse(text, f"{config.PATH} at {where}")
            Personality.parse(git.read(commit, personality.PATH) or "", personality.PATH)
            paths = git.files(commit, DIRECTORY)
        except PvcError as error:
            self._add("manifest", where, str(error))
            return
        self.roots.bases.setdefault(pinned.base_tree, pinned)
        self.roots.add(pinned.base_tree, pinned.base_layout, "the base")
        for path in paths:
            self._vector(commit, path)

    def _vector(self, commit: str, path: str) -> None:
        name = vector_name(path)
        if name is None:
            return
        dependent = f"{name} at {commit[:10]}"
        try:
            text = self.repository.git.read(commit, path) or ""
            vector = CapturedVector.parse(text, f"{path} at {commit[:10]}")
        except PvcError as error:
            self._add("manifest", path, str(error), [dependent])
            return
        for tree in (vector.base, vector.origin, vector.result):
            self.roots.trees[tree].add(dependent)
            self.roots.base_of[tree] = vector.base
        self.roots.add(vector.result, vector.layout, dependent)

    # Stored objects

    def _stored(self) -> None:
        """Everything in the store against its name, whoever refers to it."""
        self.crew.progress.start("Checking packs", self.store.stored_size())
        for damage in self.store.verify(self.crew.progress.advance):
            self._add(damage.what, damage.name, damage.detail)

    def _trees(self) -> int:
        wanted = sorted(self.roots.trees)
        trees = {tree_id: tree for tree_id in wanted if (tree := self._tree(tree_id)) is not None}
        layouts = {
            name: layout
            for name in sorted(self.roots.layouts)
            if (layout := self._layout(name)) is not None
        }
        for tree_id, layout_id in sorted(self.roots.files):
            if tree_id in trees and layout_id in layouts:
                self._files(Content(trees[tree_id], layouts[layout_id]))
        for base_id, pinned in sorted(self.roots.bases.items()):
            if base_id in trees:
                self._against(trees, base_id, pinned, layouts.values())
                layouts = {}
        return len(trees)

    def _tree(self, tree_id: bytes) -> Tree | None:
        try:
            return self.store.tree(tree_id)
        except PvcError as error:
            self._add("tree", tree_id.hex(), str(error), self.roots.trees[tree_id])
            return None

    def _layout(self, layout_id: bytes) -> Layout | None:
        try:
            return self.store.layout(layout_id)
        except PvcError as error:
            self._add("layout", layout_id.hex(), str(error), self.roots.layouts[layout_id])
            return None

    def _files(self, content: Content) -> None:
        """A layout must place just the tensors that its tree has."""
        name, tree = content.layout.id, content.tree.id
        try:
            _ = content.files
        except PvcError as error:
            both = self.roots.layouts[name] & self.roots.trees[tree]
            self._add("layout", name.hex(), str(error), both)

    def _against(
        self,
        trees: dict[bytes, Tree],
        base_id: bytes,
        pinned: Config,
        layouts: Iterable[Layout],
    ) -> None:
        """Decode every tensor of the trees that are relative to one base."""
        origin = None if pinned.by_value else self.repository.root / pinned.base_origin
        owners: dict[tuple[str, bytes], set[str]] = defaultdict(set)
        jobs: dict[tuple[str, bytes], Tensor] = {}
        for tree_id, tree in trees.items():
            if self.roots.base_of.get(tree_id, tree_id) != base_id:
                continue
            for tensor in tree.values():
                jobs[tensor.name, tensor.digest] = tensor
                owners[tensor.name, tensor.digest] |= self.roots.trees[tree_id]
        for layout in layouts:
            for file in layout.others:
                tensor = as_tensor(file)
                jobs[tensor.name, tensor.digest] = tensor
                owners[tensor.name, tensor.digest] |= self.roots.layouts[layout.id]

        total = sum(tensor.nbytes for tensor in jobs.values())
        self.crew.progress.start("Checking tensors", total)
        with Blocks(self.store, trees[base_id], BaseFiles(origin)) as blocks:

            def check(key: tuple[str, bytes], stop: Stop) -> None:
                self._tensor(jobs[key], blocks, owners[key], stop)

            workers.run(sorted(jobs), check, self.crew.threads)

    def _tensor(self, tensor: Tensor, blocks: Blocks, owners: set[str], stop: Stop) -> None:
        hasher = blake3()
        broken = False
        for index in range(tensor.block_count):
            stop.check()
            raw = blocks.buffer("fsck", tensor.block_length(index))
            self.checked.add(tensor.key(index))
            try:
                blocks.read(tensor, index, raw)
            except MissingBaseError as error:
                broken = True
                self._add("base", str(error.directory or "in the store"), str(error), owners)
            except PvcError as error:
                broken = True
                self._add("block", tensor.key(index).hex(), f"{tensor.name}: {error}", owners)
            hasher.update(raw.data)
            self.crew.progress.advance(len(raw))
        if not broken and hasher.digest() != tensor.digest:
            detail = f"its bytes hash to {hasher.hexdigest()}, not {tensor.digest.hex()}"
            self._add("tensor", tensor.name.removeprefix("/"), detail, owners)

    def _add(self, what: str, name: str, detail: str, dependents: Iterable[str] = ()) -> None:
        """Add a finding; what is broken for several reasons or dependents is named once."""
        known = self.findings.get((what, name))
        together = {*dependents, *(known.dependents if known else ())}
        first = known.detail if known else detail
        self.findings[what, name] = Finding(what, name, first, tuple(sorted(together)))
