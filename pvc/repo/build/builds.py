"""Builds: the trees that formulas come to, recorded before or computed now."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.parallel import Crew
from pvc.repo.build.build_cache import BuiltTree, BuiltTrees, keys_of
from pvc.repo.build.overflow import NotFiniteError
from pvc.repo.personality.formula import Built

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from pvc.repo.build.compute import Sink
    from pvc.repo.build.overflow import Overflow
    from pvc.repo.personality.config import Config
    from pvc.repo.personality.formula import Formula
    from pvc.repo.repository import Repository
    from pvc.weights.compare import TensorForm
    from pvc_store.layout import Layout
    from pvc_store.tree import Tree

    Drafting: TypeAlias = Callable[[Layout], Sink]


class LayoutMissingError(PvcError):
    """A computed tree does not lie in files as any that it was made from."""

    def __init__(self) -> None:
        super().__init__(
            "The computed weights fit into the files of neither the base nor any vector: "
            "some tensors were added or removed, and others are of another kind."
        )


class UnkeptTreeError(PvcError):
    """A tree is not stored, and cannot be computed.

    Attributes:
        tree: its id.
        reason: why not.
    """

    def __init__(self, tree: bytes, reason: str) -> None:
        self.tree = tree
        self.reason = reason
        super().__init__(f"The tree {tree.hex()[:12]} is not stored, and {reason}.")


class Builds:
    """The trees that formulas come to: recorded, or computed now.

    `tree_of` says which tree a formula comes to, if that is recorded.  `build` makes sure that
    its blocks are stored, and computes them if need be; with `into`, they go to a new directory
    instead, and the record says how to compute them again.  `can_restore` says whether the blocks
    of a tree are stored or can be computed from others that are; `restore` does so.

    Args:
        repository: where.
        config: names the base.
        crew: threads and progress; None for a thread per processor, and no report.
        allow_nonfinite: accept Inf and NaN that arithmetic on finite numbers gives.
    """

    def __init__(
        self,
        repository: Repository,
        config: Config,
        crew: Crew | None = None,
        *,
        allow_nonfinite: bool = False,
    ) -> None:
        self._repository = repository
        self._config = config
        self._crew = crew or Crew()
        self._allow_nonfinite = allow_nonfinite
        self._cache = BuiltTrees(repository.folder)

    def tree_of(self, formula: Formula) -> bytes | None:
        """Tree id of a formula if it is recorded; never computes, and reads no tree."""
        if formula.exact is not None:
            return formula.start.tree
        found = self._cache.read(formula.digest())
        return None if found is None else found.tree

    def find(self, formula: Formula, *, stored: bool = False) -> Built | None:
        """Tree and layout of a formula if they are recorded; never computes.

        Args:
            formula: the formula.
            stored: find only trees of which all blocks are stored.

        Raises:
            LayoutMissingError: its tree fits into the files of none that it is made from.
        """
        if formula.exact is not None:
            return formula.exact
        recorded = self.tree_of(formula)
        if recorded is None:
            return None
        tree = self._whole(recorded) if stored else self._repository.find_tree(recorded)
        return None if tree is None else Built(tree.id, self._layout(formula, tree))

    def find_current(self, formula: Formula) -> Built | None:
        """The same, unless an older pvc computed it, whose bits may be others."""
        return self.find(formula) if self._is_current(formula) else None

    def check(self, formula: Formula) -> None:
        """Make sure that a formula can be computed; reads no weights.

        Raises:
            IdentityError: a tensor cannot be computed with.
            MissingError, DamageError: the store lacks a tree.
        """
        store = self._repository.store
        store.tree(formula.start.tree)
        store.layout(formula.start.layout)
        if formula.exact is not None:
            return
        from pvc.repo.build.tensor_routes import Router

        trees = functools.cache(store.tree)
        Router(formula, trees(formula.base), trees, self._is_quantised).routes()

    def build(self, formula: Formula, into: Drafting | None = None) -> Built:
        """Tree and layout of a formula, whose blocks are stored.

        Args:
            formula: the formula.
            into: takes computed blocks instead of the store, if any need be computed.

        Raises:
            IdentityError, LayoutMissingError: it cannot be computed, or not laid out as files.
            MissingError, DamageError: a block is missing or damaged.
            UnkeptTreeError: it was computed to another tree before.
            NotFiniteError: it overflows.
        """
        found = self.find(formula, stored=True)
        if found is None or not self._is_current(formula):
            return self._compute(formula, into)
        if formula.exact is None:
            self._cache.touch(formula.digest())
            self._check(self.overflows(formula))
        return found

    def found_or_built(self, formula: Formula) -> Built:
        """Tree and layout of a formula, computed only if they are not recorded.

        Raises as `build`.
        """
        found = self.find(formula)
        if found is None or not self._is_current(formula):
            return self.build(formula)
        self._check(self.overflows(formula))
        return found

    def overflows(self, formula: Formula) -> tuple[Overflow, ...]:
        """What overflowed when a formula was computed, if that is recorded."""
        record = self._record(formula)
        return () if record is None else record.overflows

    def _record(self, formula: Formula) -> BuiltTree | None:
        """The record of a formula that takes arithmetic, if it was computed."""
        return None if formula.exact is not None else self._cache.read(formula.digest())

    def _is_current(self, formula: Formula) -> bool:
        """Whether what is recorded of a formula was computed, and looked at, as it is now."""
        record = self._record(formula)
        return record is None or record.is_current

    def _check(self, overflows: tuple[Overflow, ...]) -> None:
        if overflows and not self._allow_nonfinite:
            raise NotFiniteError(overflows)

    def restore(self, tree: bytes) -> None:
        """Make sure that the blocks of a tree are stored; a captured one's always are.

        Raises:
            UnkeptTreeError: no record says how to compute it, or its formula gives another tree
                now.
            IdentityError, LayoutMissingError, MissingError, DamageError: computing it failed.
        """
        if self._whole(tree) is not None:
            return
        failed: PvcError = UnkeptTreeError(tree, "it is not known how to compute it")
        for record in self._cache.of(tree):
            try:
                pinned = replace(self._config, base_tree=record.formula.base)
                Builds(self._repository, pinned, self._crew, allow_nonfinite=True).build(
                    record.formula
                )
            except PvcError as error:
                failed = error
            else:
                return
        raise failed

    def can_restore(self, tree: bytes) -> bool:
        """Whether the blocks of a tree are stored, or all that a formula computes them from."""
        if self._whole(tree) is not None:
            return True
        return any(self._can_compute(record.formula) for record in self._cache.of(tree))

    def _can_compute(self, formula: Formula) -> bool:
        ends = {tree for link in formula.links for tree in (link.from_tree, link.to_tree)}
        needed = {formula.start.tree, *ends}
        return all(self._whole(tree, formula.base) is not None for tree in needed)

    def _is_quantised(self) -> bool:
        from pvc.repo.build.base_config import is_quantised

        return is_quantised(self._repository, self._config)

    def _layout(self, formula: Formula, tree: Mapping[str, TensorForm]) -> bytes:
        for layout in _layouts(formula, self._config):
            if fits(self._repository.store.layout(layout), tree):
                return layout
        raise LayoutMissingError

    def _whole(self, tree_id: bytes, base_id: bytes | None = None) -> Tree | None:
        """A stored tree, unless it or a block of it was lost."""
        store = self._repository.store
        tree = self._repository.find_tree(tree_id)
        base = self._repository.find_tree(base_id or self._config.base_tree)
        if tree is None or base is None:
            return None
        store.refresh()
        return tree if all(map(store.has, keys_of(tree) - keys_of(base))) else None

    def _compute(self, formula: Formula, into: Drafting | None) -> Built:
        from pvc.repo.build.compute import Storing, compute
        from pvc.repo.build.merge_facts import MergeFacts
        from pvc.repo.build.tensor_routes import Router

        repository, crew = self._repository, self._crew
        store = repository.store
        base = store.tree(self._config.base_tree)
        with store.writing() as writing, repository.blocks(self._config, writing) as blocks:
            trees = functools.cache(store.tree)
            routes = Router(formula, base, trees, self._is_quantised).routes()
            forms = {name: route.form for name, route in routes.items() if route.form is not None}
            layout = self._layout(formula, forms)
            facts = MergeFacts(repository.folder, blocks, trees, crew)
            for part in formula.parts:
                facts.add(part.operand)
            sink = Storing(blocks, writing) if into is None else into(store.layout(layout))
            computed = compute(routes, blocks, sink, facts.taus, crew)
            tree = computed.tree
            self._check(computed.overflows)
            recorded = self._cache.read(formula.digest())
            if recorded is not None and recorded.tree != tree.id and recorded.is_current:
                reason = f"computing it again gives {tree.id.hex()[:12]}"
                raise UnkeptTreeError(recorded.tree, reason)
            writing.put_tree(tree, base)
        self._cache.write(BuiltTree(formula, tree.id, writing.packs, computed.overflows))
        return Built(tree.id, layout)


def _layouts(formula: Formula, config: Config) -> list[bytes]:
    """Layouts that a formula's tree may have, the likeliest first."""
    return [formula.start.layout, config.base_layout, *(link.layout for link in formula.links)]


def fits(layout: Layout, tree: Mapping[str, TensorForm]) -> bool:
    """Whether a tree of these tensors can become files by a layout."""
    from pathlib import Path

    from pvc.weights.header import placements

    places = {
        place.name: (place.kind, place.shape)
        for file in layout.weights
        for place in placements(file.header, file.path, Path(file.path), apart=file.apart)
    }
    return places == {name: (form.kind, form.shape) for name, form in tree.items()}
