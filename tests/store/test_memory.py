from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc_store.memory import MemoryStore
from tests.store.contract import StoreContract

if TYPE_CHECKING:
    from tests.store.contract import AnyStore


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> AnyStore:
        return MemoryStore()

    def seen_elsewhere(self, store: AnyStore) -> AnyStore:
        return MemoryStore(store.backend)
