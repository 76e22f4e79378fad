"""Engines whose weights are on a GPU; what can be seen without one comes first."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from pvc import live
from pvc.live.memory import cuda
from pvc.live.memory.cuda import DeviceError
from pvc.live.protocol.manifest import Storage
from tests.live.conftest import CREW, held, update

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live.conftest import Starter

HANDLE: dict[str, Any] = {
    "device": 0, "handle": "AA==", "size": 8, "offset": 0, "counter": "", "counter_offset": 0,
    "event": "", "event_required": 1,
}  # fmt: skip


def test_a_handle_is_read_strictly() -> None:
    parts = cuda._parse(Storage(0, "cuda:GPU-1", 8, HANDLE))
    assert parts == [0, b"\0", 8, 0, b"", 0, b"", True]


@pytest.mark.parametrize(
    "spoil", [{"handle": "?"}, {"size": "x"}, {"offset": None}, {"more": 1}, {"event": 3}]
)
def test_handles_that_are_malformed(spoil: dict[str, Any]) -> None:
    with pytest.raises(DeviceError, match="its handle is malformed"):
        cuda._parse(Storage(0, "cuda:GPU-1", 8, HANDLE | spoil))


def test_a_handle_for_memory_of_another_size() -> None:
    with pytest.raises(DeviceError, match="of another size"):
        cuda._parse(Storage(0, "cuda:GPU-1", 9, HANDLE))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_client_without_a_gpu() -> None:
    with pytest.raises(DeviceError, match="no GPU can be used in this process"):
        cuda.open_memory(Storage(0, "cuda:GPU-1", 8, HANDLE))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["tiny@cuda", "half@cuda", "qwen3@cuda", "medium@cuda"])
def test_outputs_on_a_gpu(start: Starter, tmp_path: Path, kind: str) -> None:
    engine = start(kind)
    engine.answer()
    paths = [tmp_path / f"{name}.npy" for name in ("before", "after", "fresh", "again")]
    engine.ask("outputs", path=str(paths[0]))
    with engine.connect() as connection:
        assert connection.manifest.storages[0].device.startswith("cuda:GPU-")
        base = held(connection)
        tuned = base.changed()
        update(connection, base, tuned)
        assert live.verify(connection, tuned.tree, CREW)[0] == ()
        engine.ask("outputs", path=str(paths[1]))
        tuned.save(tmp_path / "weights.npz")
        engine.ask("fresh", weights=str(tmp_path / "weights.npz"), path=str(paths[2]))
        update(connection, tuned, base)
        assert live.verify(connection, base.tree, CREW)[0] == ()
    engine.ask("outputs", path=str(paths[3]))
    before, after, fresh, again = map(np.load, paths)
    assert np.abs(after - before).max() > 0
    assert np.array_equal(after, fresh)
    assert np.array_equal(again, before)


@pytest.mark.gpu
def test_drift_on_a_gpu(start: Starter) -> None:
    engine = start("tiny@cuda")
    engine.answer()
    with engine.connect() as connection:
        base = held(connection)
        engine.ask("poke", names=["turned", "up.bias"])
        assert live.verify(connection, base.tree, CREW)[0] == ("turned", "up.bias")
        update(connection, held(connection), base)
        assert live.verify(connection, base.tree, CREW)[0] == ()


@pytest.mark.gpu
def test_expandable_segments_are_refused(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    found = start("tiny@cuda").answer()
    assert found["error"] == "DeviceError"
    assert "without PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in found["message"]


@pytest.mark.gpu
def test_a_pool_of_its_own_is_refused() -> None:
    """As vLLM's sleep mode has it."""
    pool = torch.cuda.MemPool()
    with torch.cuda.use_mem_pool(pool):
        data = torch.empty(1 << 22, dtype=torch.uint8, device="cuda")
    with pytest.raises(DeviceError, match="without sleep mode"):
        cuda.export(data)


@pytest.mark.gpu
def test_handles_are_json(tmp_path: Path) -> None:
    device, handle = cuda.export(torch.zeros(64, dtype=torch.uint8, device="cuda"))
    assert device.startswith("cuda:GPU-")
    assert base64.b64decode(handle["handle"])
