"""What pvc refuses of vLLM, in words, without vLLM."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pvc.live.vllm.plugin import is_supported, register
from pvc.live.vllm.refusals import (
    UnsupportedEngineError,
    check_backend,
    check_config,
    keeps_packing,
)


def config(**changed: Any) -> Any:
    """A configuration of vLLM, as far as it is looked at."""
    model = SimpleNamespace(quantization=None, use_mla=False, enable_sleep_mode=False)
    parallel = SimpleNamespace(
        data_parallel_size=1, _api_process_count=1, nnodes=1, enable_eplb=False,
        distributed_executor_backend="mp",
    )  # fmt: skip
    offload = SimpleNamespace(
        uva=SimpleNamespace(cpu_offload_gb=0), prefetch=SimpleNamespace(offload_group_size=0)
    )
    found = SimpleNamespace(
        model_config=model, parallel_config=parallel, offload_config=offload, lora_config=None,
        speculative_config=None, kv_transfer_config=None, ec_transfer_config=None,
        weight_transfer_config=SimpleNamespace(backend="pvc"),
    )  # fmt: skip
    for name, value in changed.items():
        for part in (model, parallel, found):
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
        ({"lora_config": object(), "nnodes": 2}, "LoRA is enabled; it runs on 2 nodes"),
    ],
)
def test_what_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedEngineError, match=reason):
        check_config(config(**changed))


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
