"""Traces in files: the same as those that were made, and never those of something else."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from pvc.live.vllm.tracing.cache import LoaderSetting, TraceCache, TraceError, from_bytes, to_bytes
from tests.support.gathering import Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from pvc.live.vllm.tracing.trace import Trace

SETTING = LoaderSetting("model", "vllm 0")


TENSORS = {
    "q": Header((4, 3)), "k": Header((2, 3)), "scale": Header(()), "cast": Header((2,)),
    "worse": Header((2,)), "elsewhere": Header((7,)), "over": Header((2,)), "under": Header((2,)),
    "moved": Header((2,)),
}  # fmt: skip


class Model(nn.Module):
    """A model with a trace of every sort."""

    def __init__(self) -> None:
        super().__init__()
        self.loads = 0
        shapes = {"unused": (1,), "qk": (6, 3), "scale": (), "cast": (2,), "one": (2,), "two": (2,)}
        for name, shape in shapes.items():
            content = torch.zeros(shape, dtype=torch.bfloat16)
            self.register_parameter(name, nn.Parameter(content, requires_grad=False))

    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        self.loads += 1
        for name, tensor in weights:
            self._load(name, tensor)

    def _load(self, name: str, tensor: torch.Tensor) -> None:
        own: Any = self
        whole = own.qk.data
        ways: dict[str, Callable[[], object]] = {
            "q": lambda: whole[:4].copy_(tensor),
            "k": lambda: whole[4:].copy_(tensor),
            "scale": lambda: own.scale.data.copy_(tensor),
            "cast": lambda: own.cast.data.copy_(tensor * 2),
            "worse": tensor.tolist,
            "elsewhere": lambda: None,
            "over": lambda: own.one.data.copy_(tensor),
            "under": lambda: own.one.data[:1].copy_(tensor[:1]),
            "moved": self._move,
        }
        ways[name]()

    def _move(self) -> None:
        own: Any = self
        own.two.data = own.two.data.clone()


def parts(found: Trace) -> dict[str, object]:
    every = {one.name: getattr(found, one.name) for one in fields(found)}
    return {**every, "storages": [storage.data_ptr() for storage in found.storages]}


def test_a_trace_comes_back(tmp_path: Path) -> None:
    model, cache = Model(), TraceCache(tmp_path / "new")
    made = cache.trace(model, TENSORS, SETTING)
    assert made.opaque
    assert made.errors
    assert made.overlapping
    assert made.unmapped
    assert made.moved
    loads = model.loads
    again = cache.trace(model, TENSORS, SETTING)
    assert parts(again) == parts(made)
    assert again.problems == made.problems
    assert model.loads == loads
    (path,) = (tmp_path / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    other = cache.trace(Model(), TENSORS, SETTING)  # the same layout elsewhere in memory
    assert other.regions == made.regions
    assert parts(other)["storages"] != parts(made)["storages"]


def test_another_layout_or_checkpoint_is_traced_again(tmp_path: Path) -> None:
    model, cache = Model(), TraceCache(tmp_path)
    cache.trace(model, TENSORS, SETTING)
    loads = model.loads
    fewer = {name: one for name, one in TENSORS.items() if name != "k"}
    assert "k" not in cache.trace(model, fewer, SETTING).regions
    assert model.loads > loads
    loads = model.loads
    own: Any = model
    own.qk.data = torch.zeros(3, 6, dtype=torch.bfloat16).t()
    assert cache.trace(model, fewer, SETTING).regions["q"][0].stride == (2, 12)
    assert model.loads > loads
    assert len(list(tmp_path.iterdir())) == 1
    cache.trace(model, fewer, replace(SETTING, tensor_rank=1, tensor_size=2))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_that_cannot_be_used_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert TraceCache(tmp_path / "file").trace(Model(), TENSORS, SETTING).regions
    cache = TraceCache(tmp_path / "folder")
    made = cache.trace(Model(), TENSORS, SETTING)
    (path,) = (tmp_path / "folder").iterdir()
    path.write_bytes(b"{")
    assert cache.trace(Model(), TENSORS, SETTING).regions == made.regions
    assert path.read_bytes() != b"{"


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"storages": [99, 1, 2]}, "storage that the model does not have"),
        ({"storages": [1]}, "a storage that is not listed"),
        ({"regions": [{"tensor": "x", "place": [0, 0, 0]}]}, "no tensor of the checkpoint"),
        ({"regions": [{"tensor": "q", "place": [0, 0, 0, 1]}]}, "has 4 numbers"),
        ({"regions": [{"tensor": "q", "place": [0, 0, 0, 99, 2, 2]}]}, "beyond its storage"),
        ({"regions": [{"tensor": "k", "place": [0, 0, 0, 7, 2, 2]}]}, "beyond the tensor"),
        ({"regions": [{"tensor": "q", "place": [0, 0, 0], "more": 1}]}, "unknown field"),
        ({"opaque": [{"name": "q", "reason": "so", "more": 1}]}, "unknown field"),
        ({"parameters": [{"name": "q", "tensors": [1]}]}, "something else than text"),
        ({"more": 1}, "unknown field"),
        ({"moved": None}, "not a list"),
    ],
)
def test_malformed_files(change: dict[str, object], detail: str, tmp_path: Path) -> None:
    model = Model()
    made = TraceCache(tmp_path).trace(model, TENSORS, SETTING)
    document = json.loads(to_bytes(made, "00", model))
    data = json.dumps({**document, **change}).encode()
    with pytest.raises(TraceError, match=detail):
        from_bytes(data, "trace.json", "00", model, TENSORS)
    assert from_bytes(to_bytes(made, "00", model), "trace.json", "01", model, TENSORS) is None
