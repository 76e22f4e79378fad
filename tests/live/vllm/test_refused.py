"""What pvc refuses of vLLM, in words, without vLLM."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pvc.live.announced.folder import EngineNameError
from pvc.live.vllm.endpoint import Endpoint, _name
from pvc.live.vllm.plugin import is_supported, register
from pvc.live.vllm.refusals import (
    UnsupportedEngineError,
    check_backend,
    check_config,
    keeps_packing,
)

if TYPE_CHECKING:
    from pathlib import Path


def config(**changed: Any) -> Any:
    """A configuration of vLLM, as far as it is looked at."""
    model = SimpleNamespace(quantization=None, use_mla=False, enable_sleep_mode=False, model="m")
    parallel = SimpleNamespace(
        data_parallel_size=1, _api_process_count=1, nnodes=1, enable_eplb=False,
        distributed_executor_backend="mp", world_size=1,
    )  # fmt: skip
    offload = SimpleNamespace(
        uva=SimpleNamespace(cpu_offload_gb=0), prefetch=SimpleNamespace(offload_group_size=0)
    )
    loading = SimpleNamespace(load_format="auto")
    found = SimpleNamespace(
        model_config=model, parallel_config=parallel, offload_config=offload, load_config=loading,
        lora_config=None, additional_config={}, speculative_config=None,
        kv_transfer_config=None, ec_transfer_config=None,
        weight_transfer_config=SimpleNamespace(backend="pvc"),
    )  # fmt: skip
    for name, value in changed.items():
        for part in (model, parallel, loading, offload.uva, offload.prefetch, found):
            if hasattr(part, name):
                setattr(part, name, value)
    return found


def test_the_ordinary_engine_is_accepted() -> None:
    check_config(config())
    check_backend(config())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"quantization": "fp8"}, "the model is quantised \\(fp8\\)"),
        ({"use_mla": True}, "derived from the weights"),
        ({"enable_sleep_mode": True}, "sleep mode"),
        ({"lora_config": object()}, "LoRA is enabled"),
        ({"speculative_config": object()}, "speculative decoding"),
        ({"kv_transfer_config": object()}, "outside vLLM"),
        ({"ec_transfer_config": object()}, "outside vLLM"),
        ({"data_parallel_size": 2}, "data parallelism is 2"),
        ({"_api_process_count": 3}, "3 API servers"),
        ({"nnodes": 2}, "2 nodes"),
        ({"enable_eplb": True}, "EPLB"),
        ({"distributed_executor_backend": "ray"}, "started by ray"),
        ({"cpu_offload_gb": 4}, "weights are offloaded"),
        ({"offload_group_size": 8}, "weights are offloaded"),
        ({"load_format": "dummy"}, "not those of a checkpoint \\(load format dummy\\)"),
        ({"additional_config": {"pvc": {"nam": "chat"}}}, "'nam' for pvc, which knows name, "),
        ({"additional_config": {"pvc": {"packing": "yes"}}}, "packing of .* 'yes', not true or"),
        ({"additional_config": {"pvc": {"name": 3}}}, "name of .* is 3, not a text"),
        ({"additional_config": {"pvc": "chat"}}, "'chat' for pvc, where an object is expected"),
        ({"lora_config": object(), "nnodes": 2}, "LoRA is enabled; it runs on 2 nodes"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedEngineError, match=reason):
        check_config(config(**changed))


def serve(config: Any) -> None:
    """Let a server be announced, as vLLM does it once it has loaded its model."""
    client = SimpleNamespace(vllm_config=config)
    asyncio.run(Endpoint().init_state(client, SimpleNamespace(), Namespace()))


def test_a_server_looks_again() -> None:
    """Workers of replicas of a dense model are told that they are alone; the server knows."""
    with pytest.raises(UnsupportedEngineError, match="data parallelism is 2"):
        serve(config(data_parallel_size=2))


@pytest.mark.parametrize("name", ["a/b", "../chat", "", "-x", "a" * 61])
def test_names_of_servers(name: str) -> None:
    with pytest.raises(EngineNameError, match="is no name for an engine"):
        serve(config(additional_config={"pvc": {"name": name}}))


@pytest.mark.parametrize(
    ("model", "name"),
    [("Qwen/Qwen3-0.6B", "Qwen3-0.6B"), ("/models/my model/", "my-model"), ("..", "pvc"),
     ("/models/_x", "x"), (".", "here")],
)  # fmt: skip
def test_a_server_is_called_as_its_model(
    model: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert _name(config(model=model)) == name


@pytest.mark.parametrize(
    ("additional", "packing"),
    [({}, False), ({"pvc": {"packing": True}}, True), ({"pvc": {"packing": "yes"}}, False),
     ({"pvc": 1}, False), (SimpleNamespace(), False)],
)  # fmt: skip
def test_packing_has_to_be_asked_for(additional: object, packing: bool) -> None:
    assert keeps_packing(SimpleNamespace(additional_config=additional)) == packing


@pytest.mark.parametrize("transfer", [None, SimpleNamespace(backend="nccl")])
def test_without_the_backend(transfer: object) -> None:
    with pytest.raises(UnsupportedEngineError, match="weight transfer config"):
        check_backend(config(weight_transfer_config=transfer))


@pytest.mark.parametrize(
    ("version", "supported"),
    [("0.32.0", True), ("0.32.1.dev7+g0a1b2c3", True), ("0.31.9", False), ("0.33.0", False),
     ("1.32.0", False), ("unknown", False)],
)  # fmt: skip
def test_versions(version: str, supported: bool) -> None:
    assert is_supported(version) == supported


def test_another_vllm_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It says so, and vLLM starts."""
    monkeypatch.setitem(__import__("sys").modules, "vllm", SimpleNamespace(__version__="0.9.1"))
    register()
    assert "not available in vLLM 0.9.1: pvc supports 0.32 and later" in caplog.text
