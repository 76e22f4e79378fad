"""Roots: the trees and layouts that something refers to, so that they have to be stored.

References are in every manifest at every commit that any ref, reflog, note, stash or worktree
reaches; and in the record of every target, with all that its tree is computed from.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.build.build_cache import BuiltTrees
from pvc.repo.git import GitError
from pvc.repo.personality import config, personality_file, vector_file
from pvc.repo.personality.config import Config
from pvc.repo.personality.personality_file import Personality
from pvc.repo.personality.vector import CapturedVector, Vector
from pvc.repo.snapshot import PATHS, vector_name
from pvc.repo.upkeep.recipes import Recipes

if TYPE_CHECKING:
    from pvc.repo.personality.formula import Formula
    from pvc.repo.repository import Repository
    from pvc.repo.upkeep.findings import Findings


@dataclass
class Roots:
    """Trees and layouts that are referred to, and from where.

    Attributes:
        commits: those whose manifests were read.
        trees: tree id -> names of its dependents.
        layouts: layout id -> the same.
        files: tree and layout that become files together.
        bases: tree id of each base -> a configuration that pins it.
        base_of: tree id -> that of the base it is relative to.
        target_trees: trees of targets.
    """

    commits: list[str] = field(default_factory=list)
    trees: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))
    layouts: dict[bytes, set[str]] = field(default_factory=lambda: defaultdict(set))
    files: set[tuple[bytes, bytes]] = field(default_factory=set)
    bases: dict[bytes, Config] = field(default_factory=dict)
    base_of: dict[bytes, bytes] = field(default_factory=dict)
    target_trees: set[bytes] = field(default_factory=set)

    def add(self, tree: bytes, layout: bytes, dependent: str) -> None:
        """Note that something needs a tree, and a layout by which it becomes files."""
        self.trees[tree].add(dependent)
        self.layouts[layout].add(dependent)
        self.files.add((tree, layout))


def read_roots(repository: Repository, findings: Findings) -> Roots:
    """The roots of a repository; what cannot be read becomes a finding."""
    return _Reader(repository, findings).read()


class _Reader:
    def __init__(self, repository: Repository, findings: Findings) -> None:
        self.git = repository.git
        self.targets = repository.targets
        self.engines = repository.engines
        self.findings = findings
        self.roots = Roots()
        self.formulas: dict[bytes, Formula] = {}
        for one in BuiltTrees(repository.folder).all():
            self.formulas.setdefault(one.tree, one.formula)  # the one used last
        self.vectors: dict[str, Vector | PvcError] = {}
        """By the id that git gives their content: most commits hold what others hold."""
        self.recipes = Recipes()

    def read(self) -> Roots:
        self.roots.commits = self._commits()
        for commit in self.roots.commits:
            self._commit(commit)
        for target in self.targets.all():
            self._target(target.tree, target.layout, f"the target {target.path}")
        for engine in self.engines.all():
            self._target(engine.tree, engine.layout, engine.where)
        for error in (*self.targets.malformed(), *self.engines.malformed()):
            self.findings.add("target", error.where, error.detail)
        return self.roots

    def _target(self, tree: bytes, layout: bytes, dependent: str) -> None:
        """A target needs its tree; of a computed one, also all that it is computed from."""
        self.roots.add(tree, layout, dependent)
        self.roots.target_trees.add(tree)
        formula = self.formulas.get(tree)
        if formula is None:
            return
        self.roots.add(formula.start.tree, formula.start.layout, dependent)
        self.roots.base_of[formula.start.tree] = formula.base
        for link in formula.links:
            for needed in (link.from_tree, link.to_tree):
                self.roots.trees[needed].add(dependent)
                self.roots.base_of[needed] = link.base

    def _commits(self) -> list[str]:
        try:
            listed = self.git.run(
                "rev-list", "--all", "--reflog", "--full-history", "HEAD", "--", *PATHS
            )
        except GitError as error:
            self.findings.add("git", "history", error.detail)
            return []
        return listed.split()

    def _commit(self, commit: str) -> None:
        """Read the manifests of one commit, and note what they refer to."""
        where = commit[:10]
        try:
            text = self.git.read(commit, config.PATH)
            if text is None:
                return
            pinned = Config.parse(text, f"{config.PATH} at {where}")
            Personality.parse(
                self.git.read(commit, personality_file.PATH) or "", personality_file.PATH
            )
            blobs = self.git.blobs(commit, vector_file.DIRECTORY)
        except PvcError as error:
            self.findings.add("manifest", where, str(error))
            return
        self.roots.bases.setdefault(pinned.base_tree, pinned)
        self.roots.add(pinned.base_tree, pinned.base_layout, "the base")
        named = {name: path for path in sorted(blobs) if (name := vector_name(path)) is not None}
        parsed = {name: self._parsed(commit, path, blobs[path]) for name, path in named.items()}
        for name, path in named.items():
            self._vector(parsed[name], path, f"{name} at {where}")
        readable = {name: one for name, one in parsed.items() if not isinstance(one, PvcError)}
        ids = {name: blobs[path] for name, path in named.items()}
        for name, why in self.recipes.check(pinned, readable, ids, f"commit {where}").items():
            self.findings.add("manifest", named[name], str(why), [f"{name} at {where}"])

    def _parsed(self, commit: str, path: str, blob: str) -> Vector | PvcError:
        if blob not in self.vectors:
            try:
                text = self.git.read(commit, path) or ""
                self.vectors[blob] = vector_file.parse(text, f"{path} at {commit[:10]}")
            except PvcError as error:
                self.vectors[blob] = error
        return self.vectors[blob]

    def _vector(self, vector: Vector | PvcError, path: str, dependent: str) -> None:
        if isinstance(vector, PvcError):
            self.findings.add("manifest", path, str(vector), [dependent])
            return
        if not isinstance(vector, CapturedVector):
            return
        for tree in (vector.base, vector.from_tree, vector.to_tree):
            self.roots.trees[tree].add(dependent)
            self.roots.base_of[tree] = vector.base
        self.roots.add(vector.to_tree, vector.layout, dependent)
