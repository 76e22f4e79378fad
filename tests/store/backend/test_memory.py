from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc_store.backend.memory import MemoryBackend
from tests.store.backend.contract import BackendContract

if TYPE_CHECKING:
    from pvc_store.backend import StoreBackend


class TestMemoryBackend(BackendContract):
    @pytest.fixture
    def backend(self) -> StoreBackend:
        return MemoryBackend()
