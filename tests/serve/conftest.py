from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.repo.conftest import git_config, plain_git  # noqa: F401
from tests.support.served import Reference, Server, lab_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lab_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="session")
def server(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for tests that leave it as it was."""
    found = Server(model, tmp_path_factory.mktemp("served") / "engines")
    yield found
    found.end()


@pytest.fixture(scope="session")
def reference(model: Path) -> Reference:
    return Reference(model)
