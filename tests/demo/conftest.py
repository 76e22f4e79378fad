"""Models that were hardly trained: enough for everything but their replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc.demo.training import Schedule, train_base

if TYPE_CHECKING:
    from pathlib import Path

TINY = Schedule(steps=2, rate=1e-3, dialogues=2, controls=2)


@pytest.fixture(scope="session")
def tiny() -> Schedule:
    return TINY


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base of the lab after two steps."""
    directory = tmp_path_factory.mktemp("lab") / "base"
    train_base(directory, schedule=TINY)
    return directory
