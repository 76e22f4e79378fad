"""What trees hold, as bytes: blocks, the content of directories, and whether they still hold it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pvc.errors import PvcError
from pvc.repo.targets import directory
from pvc.repo.targets.directory import Content
from pvc.repo.trees.blocks import BaseFiles, Blocks

if TYPE_CHECKING:
    from pathlib import Path

    from pvc.parallel import Crew
    from pvc.repo.personality.config import Config
    from pvc.repo.repository import Repository
    from pvc.repo.targets.directory_record import DirectoryRecord
    from pvc_store.store import StoreReader


class DriftedError(PvcError):
    """A target does not hold what pvc wrote there.

    Attributes:
        path: the directory.
        names: tensors or files that differ.
    """

    def __init__(self, path: Path, names: tuple[str, ...]) -> None:
        self.path = path
        self.names = names
        first = ", ".join(name.removeprefix("/") for name in names[:3])
        super().__init__(
            f"{path} was changed since pvc wrote it; {len(names)} of its tensors and files differ: "
            f"{first}{' and others' if len(names) > 3 else ''}."
        )


def blocks_of(repository: Repository, config: Config, reading: StoreReader | None = None) -> Blocks:
    """Raw blocks of the repository's trees, or of a running change to them."""
    origin = repository.root / config.base_origin
    store = repository.store
    return Blocks(reading or store, store.tree(config.base_tree), BaseFiles(origin))


def content_of(repository: Repository, tree: bytes, layout: bytes) -> Content:
    """Tree and layout of these ids."""
    return Content(repository.store.tree(tree), repository.store.layout(layout))


def save_target(repository: Repository, target: DirectoryRecord, content: Content) -> None:
    """Record what a directory holds, with the stamps that its files have now."""
    stamps = directory.stamps(target.path, content)
    repository.targets.save(replace(target, stamps=stamps))


def check_undrifted(target: DirectoryRecord, content: Content, blocks: Blocks, crew: Crew) -> None:
    """Make sure that a target still holds what its record says.

    Raises:
        DriftedError: it does not.
    """
    changed = target.changed()
    if changed:
        wrong = directory.wrong(target.path, content, changed, blocks, crew)
        if wrong:
            raise DriftedError(target.path, tuple(wrong))
