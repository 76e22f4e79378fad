"""What vLLM does with the modules of a model before and after they are loaded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pvc.live.vllm.vllm_api import (
    CompilationMode,
    QuantizeMethodBase,
    UnquantizedEmbeddingMethod,
    UnquantizedFusedMoEMethod,
    UnquantizedLinearMethod,
    current_platform,
    get_layerwise_info,
    get_original_loader,
    is_deferred_attention_layer,
    materialize_layer,
    restore_layer_on_meta,
    set_current_vllm_config,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from pvc.live.vllm.tracing.cache import LoaderSetting, TraceCache
    from pvc.live.vllm.tracing.trace import TensorDescription, Trace
    from pvc.live.vllm.vllm_api import VllmConfig

METHODS = {UnquantizedLinearMethod, UnquantizedEmbeddingMethod, UnquantizedFusedMoEMethod}
"""Classes of vLLM whose processing of a module is known to give the same each time."""

LINEAR = torch.nn.functional.linear
"""What vLLM on CPUs multiplies weights with that are not packed."""

SAMPLES, SAMPLE_PERIOD = 4, 17


class VllmModules:
    """Empties and processes modules as vLLM does; see `module_lifecycle.ModuleLifecycle`.

    Args:
        config: that of this vLLM.
        cache: where traces are kept.
        setting: how this worker loads models.
    """

    def __init__(self, config: VllmConfig, cache: TraceCache, setting: LoaderSetting) -> None:
        self._config = config
        self._cache = cache
        self._setting = setting
        self._compiled = config.compilation_config.mode != CompilationMode.NONE

    def unavailable(self) -> str | None:
        """See `ModuleLifecycle.unavailable`: on GPUs it was not tested."""
        if current_platform.is_cpu():
            return None
        return "what vLLM processes after loading can be changed on CPUs only, so far"

    def context(self) -> AbstractContextManager[None]:
        """See `ModuleLifecycle.context`."""
        found: AbstractContextManager[None] = set_current_vllm_config(self._config)
        return found

    def trace(self, model: torch.nn.Module, tensors: Mapping[str, TensorDescription]) -> Trace:
        """See `ModuleLifecycle.trace`."""
        setting = replace(self._setting, engine=f"{self._setting.engine}, before loading")
        return self._cache.trace(model, tensors, setting)

    def refusal(self, module: torch.nn.Module) -> str | None:
        """See `ModuleLifecycle.refusal`."""
        method, kind = _method(module), type(module).__name__
        if is_deferred_attention_layer(module):
            return f"vLLM processes modules of the kind {kind} at the end, which was not tested"
        if method is not None and type(method) not in METHODS:
            return f"pvc does not know what {type(method).__name__} does to a {kind}"
        if self._compiled and self.keeps_copy(module):
            return "it is packed, and the compiled model holds on to what was packed"
        return None

    def is_processed(self, module: torch.nn.Module) -> bool:
        """See `ModuleLifecycle.is_processed`."""
        return _method(module) is not None

    def keeps_copy(self, module: torch.nn.Module) -> bool:
        """See `ModuleLifecycle.keeps_copy`."""
        return vars(module).get("cpu_linear", LINEAR) is not LINEAR

    def empty(self, module: torch.nn.Module, *, real: bool) -> None:
        """See `ModuleLifecycle.empty`."""
        info = get_layerwise_info(module)
        restore_layer_on_meta(module, info)
        for one in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if hasattr(one, "weight_loader"):  # vLLM's own `reload_weights` leaves its loaders here
                one.weight_loader = get_original_loader(one)
        if real:
            materialize_layer(module, info)

    def process(self, module: torch.nn.Module) -> None:
        """See `ModuleLifecycle.process`."""
        method: Any = _method(module)
        kernel = getattr(method, "moe_kernel", None)
        method.process_weights_after_loading(module)
        if kernel is not None:  # vLLM lets it pack the experts only when it has made it
            kernel.fused_experts.process_weights_after_loading(module)

    def sample(self, module: torch.nn.Module) -> torch.Tensor | None:
        """See `ModuleLifecycle.sample`."""
        if not self.keeps_copy(module):
            return None
        parameters, _ = get_layerwise_info(module).restore_metadata
        shape, dtype = parameters["weight"].shape, parameters["weight"].dtype
        numbers = torch.arange(SAMPLES * shape[1]).remainder(SAMPLE_PERIOD) - SAMPLE_PERIOD // 2
        found: torch.Tensor = vars(module)["cpu_linear"](
            numbers.reshape(SAMPLES, shape[1]).to(dtype), module.weight, None
        )
        return found


def _method(module: torch.nn.Module) -> QuantizeMethodBase | None:
    """What processes a module after it was loaded."""
    found = getattr(module, "quant_method", None)
    return found if isinstance(found, QuantizeMethodBase) else None
