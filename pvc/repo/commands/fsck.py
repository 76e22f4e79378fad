"""`pvc fsck`: everything that history needs is there, and is what its name says.

Checked are git's objects; every manifest at every commit that any ref, reflog, note or worktree
reaches; trees and layouts they name; packs by BLAKE3; every block by its key; every tensor and file
by its BLAKE3; the base.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blake3 import blake3

from pvc import parallel
from pvc.errors import PvcError
from pvc.repo.build.builds import Builds
from pvc.repo.git import GitError
from pvc.repo.history.journal import JournalError, JournalFile
from pvc.repo.targets.directory import Content
from pvc.repo.targets.weights_file import as_tensor
from pvc.repo.trees.blocks import BaseFiles, Blocks, MissingBaseError
from pvc.repo.upkeep.findings import Findings
from pvc.repo.upkeep.roots import Roots, read_roots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pvc.parallel import Crew, Stop
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository
    from pvc.repo.upkeep.findings import Finding
    from pvc_store.layout import Layout
    from pvc_store.tree import Tensor, Tree


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

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
        self.findings = Findings()
        self.roots = Roots()
        self.checked: set[bytes] = set()

    def run(self) -> Report:
        self._git()
        self._journal()
        self.roots = read_roots(self.repository, self.findings)
        self._stored()
        trees = self._trees()
        return Report(len(self.roots.commits), trees, len(self.checked), self.findings.all())

    def _git(self) -> None:
        try:
            self.repository.git.run("fsck", "--full", "--no-dangling", "--no-progress")
        except GitError as error:
            self.findings.add("git", "objects", error.detail)

    def _journal(self) -> None:
        try:
            JournalFile(self.repository).read()
        except JournalError as error:
            self.findings.add("journal", error.where, error.detail)

    def _stored(self) -> None:
        """Everything in the store against its name, whoever refers to it."""
        self.crew.progress.start("Checking packs", self.store.stored_size())
        for damage in self.store.verify(self.crew.progress.advance):
            self.findings.add(damage.what, damage.name, damage.detail)

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
        self._targets(trees)
        return len(trees)

    def _targets(self, trees: dict[bytes, Tree]) -> None:
        """The tree of a target must be stored, or it must be recorded how to compute it."""
        bases = [
            Builds(self.repository, pinned, self.crew)
            for base, pinned in self.roots.bases.items()
            if base in trees
        ]
        for tree_id in sorted(self.roots.target_trees & trees.keys()):
            if not any(builds.can_restore(tree_id) for builds in bases):
                detail = "not all of its blocks are stored, and it is not known how to compute it"
                self.findings.add("tree", tree_id.hex(), detail, self.roots.trees[tree_id])

    def _tree(self, tree_id: bytes) -> Tree | None:
        try:
            return self.store.tree(tree_id)
        except PvcError as error:
            self.findings.add("tree", tree_id.hex(), str(error), self.roots.trees[tree_id])
            return None

    def _layout(self, layout_id: bytes) -> Layout | None:
        try:
            return self.store.layout(layout_id)
        except PvcError as error:
            self.findings.add("layout", layout_id.hex(), str(error), self.roots.layouts[layout_id])
            return None

    def _files(self, content: Content) -> None:
        """A layout must place just the tensors that its tree has."""
        name, tree = content.layout.id, content.tree.id
        try:
            _ = content.files
        except PvcError as error:
            both = self.roots.layouts[name] & self.roots.trees[tree]
            self.findings.add("layout", name.hex(), str(error), both)

    def _against(
        self,
        trees: dict[bytes, Tree],
        base_id: bytes,
        pinned: Config,
        layouts: Iterable[Layout],
    ) -> None:
        """Decode every tensor of the trees that are relative to one base."""
        origin = None if pinned.by_value else self.repository.root / pinned.base_path
        owners: dict[tuple[str, bytes], list[set[str]]] = defaultdict(list)
        jobs: dict[tuple[str, bytes], Tensor] = {}
        for tree_id, tree in trees.items():
            if self.roots.base_of.get(tree_id, tree_id) != base_id:
                continue
            for tensor in tree.values():
                jobs[tensor.name, tensor.digest] = tensor
                owners[tensor.name, tensor.digest].append(self.roots.trees[tree_id])
        for layout in layouts:
            for file in layout.others:
                tensor = as_tensor(file)
                jobs[tensor.name, tensor.digest] = tensor
                owners[tensor.name, tensor.digest].append(self.roots.layouts[layout.id])

        total = sum(tensor.nbytes for tensor in jobs.values())
        self.crew.progress.start("Checking tensors", total)
        with Blocks(self.store, trees[base_id], BaseFiles(origin)) as blocks:

            def check(key: tuple[str, bytes], stop: Stop) -> None:
                self._tensor(jobs[key], blocks, owners[key], stop)

            parallel.run(sorted(jobs), check, self.crew.threads)

    def _tensor(self, tensor: Tensor, blocks: Blocks, owners: list[set[str]], stop: Stop) -> None:
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
                self.findings.add(
                    "base", str(error.directory or "in the store"), str(error), _union(owners)
                )
            except (PvcError, OSError) as error:
                broken = True
                self.findings.add(
                    "block", tensor.key(index).hex(), f"{tensor.name}: {error}", _union(owners)
                )
            hasher.update(raw.data)
            self.crew.progress.advance(len(raw))
        if not broken and hasher.digest() != tensor.digest:
            detail = f"its bytes hash to {hasher.hexdigest()}, not {tensor.digest.hex()}"
            self.findings.add("tensor", tensor.name.removeprefix("/"), detail, _union(owners))


def _union(owners: list[set[str]]) -> set[str]:
    """All dependents of a tensor; put together only where it is broken: there may be very many."""
    return set().union(*owners)
