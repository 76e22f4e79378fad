"""Configurations of vLLM in which its weights cannot be shared, and the options of pvc."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Iterator


class UnsupportedEngineError(PvcError):
    """A vLLM runs in a way in which its weights cannot be shared.

    Attributes:
        reasons: why not.
    """

    def __init__(self, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__(f"The weights of this vLLM cannot be shared: {'; '.join(reasons)}.")


BACKEND = "pvc"
OPTIONS: dict[str, type] = {"name": str, "folder": str, "packing": bool}
"""Options in the additional config, under `pvc`, and their types."""


def has_backend(config: Any) -> bool:
    """Whether a vLLM was started with pvc's backend; `config` is its `VllmConfig`."""
    transfer = config.weight_transfer_config
    return transfer is not None and transfer.backend == BACKEND


def options(config: Any) -> dict[str, object]:
    """The options of pvc in the additional config of a vLLM."""
    found = config.additional_config
    found = found.get("pvc", {}) if isinstance(found, dict) else {}
    return dict(found) if isinstance(found, dict) else {}


def keeps_packing(config: Any) -> bool:
    """Whether linear weights are to be packed as without pvc, and changed by the loader."""
    return options(config).get("packing") is True


def check_backend(config: Any) -> None:
    """Make sure that a vLLM was started with pvc's backend.

    Raises:
        UnsupportedEngineError: it was not.
    """
    if not has_backend(config):
        raise UnsupportedEngineError(
            ('it was started without the weight transfer config {"backend": "pvc"}',)
        )


def check_config(config: Any) -> None:
    """Make sure that pvc can share the weights of a vLLM.

    A worker's configuration is incomplete: replicas that are independent of each other, as those of
    models without experts, look like a single one.

    Args:
        config: its `VllmConfig`, that of a worker or of the process that speaks to the outside.

    Raises:
        UnsupportedEngineError: it cannot.
    """
    reasons = (
        *_options(config.additional_config), *_model(config.model_config), *_features(config),
        *_parallel(config.parallel_config),
    )  # fmt: skip
    if reasons:
        raise UnsupportedEngineError(reasons)


def _options(additional: Any) -> Iterator[str]:
    found = additional.get("pvc", {}) if isinstance(additional, dict) else {}
    if not isinstance(found, dict):
        yield f"the additional config has {found!r:.60} for pvc, where an object is expected"
        return
    for key, value in found.items():
        if key not in OPTIONS:
            known = ", ".join(OPTIONS)
            yield f"the additional config has {key!r:.60} for pvc, which knows {known}"
        elif not isinstance(value, OPTIONS[key]):
            kind = "a text" if OPTIONS[key] is str else "true or false"
            yield f"{key} of pvc in the additional config is {value!r:.60}, not {kind}"


def _model(model: Any) -> Iterator[str]:
    if model.quantization is not None:
        yield f"the model is quantised ({model.quantization})"
    if model.use_mla:
        yield "its attention (MLA) computes with copies that are derived from the weights"
    if model.enable_sleep_mode:
        yield "sleep mode is enabled, which takes the weights out of memory"


def _features(config: Any) -> Iterator[str]:
    if config.lora_config is not None:
        yield "LoRA is enabled"
    if config.speculative_config is not None:
        yield "speculative decoding is enabled"
    if config.kv_transfer_config is not None or config.ec_transfer_config is not None:
        yield "caches are kept outside vLLM, where pvc cannot reset them"
    if config.load_config.load_format == "dummy":
        yield "its weights are not those of a checkpoint (load format dummy)"
    offload = config.offload_config
    if offload.uva.cpu_offload_gb or offload.prefetch.offload_group_size:
        yield "weights are offloaded"


def _parallel(parallel: Any) -> Iterator[str]:
    if parallel.data_parallel_size > 1:
        yield f"data parallelism is {parallel.data_parallel_size}"
    if parallel._api_process_count > 1:  # noqa: SLF001  # there is no public way
        yield f"there are {parallel._api_process_count} API servers"  # noqa: SLF001
    if parallel.nnodes > 1:
        yield f"it runs on {parallel.nnodes} nodes"
    if parallel.enable_eplb:
        yield "experts are moved between ranks while it runs (EPLB)"
    if parallel.distributed_executor_backend not in {None, "uni", "mp"}:
        yield f"its workers are started by {parallel.distributed_executor_backend}"
