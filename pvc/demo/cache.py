"""The lab's trained models, kept where the caller says and trained only once.

A set of models lies in a folder whose name holds a digest of all that decides its weights: the
seed, the schedules, the versions of torch and transformers, and the text of the lab's own modules.

The folder appears whole or not at all: it is made under another name, fsynced and renamed.  One
process makes it while the others wait, and clears away what a killed one has left.

Limits: a set made by other versions stays until somebody removes it; it takes 5 MB.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from pvc.demo.tasks import BEHAVIOURS
from pvc.demo.training import (
    BASE,
    FINE_TUNE,
    Schedule,
    TrainingProgress,
    fine_tune,
    silent,
    train_base,
)
from pvc_store.atomic import make_directory, sync_directory
from pvc_store.errors import LockedError
from pvc_store.lock import hold

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE_SECONDS = 900.0
_DECISIVE = ("vocabulary", "tasks", "model", "scores", "training")


@dataclass(frozen=True, slots=True)
class LabModels:
    """Where the models lie.

    Attributes:
        base: directory of the model that shows each behaviour now and then.
        fine_tunes: behaviour -> directory of the base trained to show it nearly always.
    """

    base: Path
    fine_tunes: Mapping[str, Path]


def prepare(
    cache: Path,
    *,
    seed: int = 0,
    progress: TrainingProgress = silent,
    base: Schedule = BASE,
    tuned: Schedule = FINE_TUNE,
) -> LabModels:
    """The models of a seed, trained now if `cache` does not hold them yet.

    Raises:
        LockedError: another process has been making the same models for a quarter of an hour.
    """
    home = cache / f"lab-{seed}-{_digest(seed, base, tuned)}"
    if not home.is_dir():
        make_directory(cache)
        with ExitStack() as stack:
            _wait_for_turn(stack, home.with_suffix(".lock"), progress)
            if not home.is_dir():
                _make(home, seed, progress, base, tuned)
    return LabModels(home / "base", {name: home / name for name in BEHAVIOURS})


def _wait_for_turn(stack: ExitStack, lock: Path, progress: TrainingProgress) -> None:
    holder = f"process {os.getpid()}"
    try:
        stack.enter_context(hold(lock, exclusive=True, holder=holder))
    except LockedError:
        progress("waiting for another process", 0, 1)
        stack.enter_context(hold(lock, exclusive=True, holder=holder, wait=PATIENCE_SECONDS))


def _make(
    home: Path, seed: int, progress: TrainingProgress, base: Schedule, tuned: Schedule
) -> None:
    draft = home.with_suffix(".draft")
    if draft.exists():
        shutil.rmtree(draft)
    train_base(draft / "base", seed=seed, progress=progress, schedule=base)
    for name in BEHAVIOURS:
        fine_tune(draft / "base", name, draft / name, seed=seed, progress=progress, schedule=tuned)
    _sync_all(draft)
    draft.rename(home)
    sync_directory(home.parent)


def _sync_all(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        else:
            sync_directory(path)
    sync_directory(folder)


def _digest(*recipe: object) -> str:
    """Eight bytes in hexadecimal, different wherever the weights may differ."""
    digest = hashlib.blake2b(digest_size=8)
    for library in ("torch", "transformers"):
        digest.update(f"{library} {version(library)}\n".encode())
    for part in recipe:
        digest.update(f"{part!r}\n".encode())
    for module in _DECISIVE:
        digest.update(Path(__file__).with_name(f"{module}.py").read_bytes())
    return digest.hexdigest()
