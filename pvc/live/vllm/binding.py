"""All that pvc takes from vLLM: the one module that imports it.

vLLM 0.32; see `plugin.SUPPORTED`.  It makes the backend in every worker right after it has loaded
the model, before it profiles, compiles and captures: that is when weights can still move.

Limits: vLLM on CPUs packs linear weights into a form of its own and throws the others away.  While
a vLLM with this backend loads a model, that is prevented for matrices; they are multiplied by
PyTorch then, which is slower.  It can be asked for all the same; see `refusals.keeps_packing`.
"""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import vllm
import vllm.model_executor.layers.utils as layer_utils
from huggingface_hub import snapshot_download
from vllm import envs
from vllm.config import CompilationMode, set_current_vllm_config
from vllm.config.vllm import get_current_vllm_config_or_none
from vllm.distributed.parallel_state import get_pp_group, get_tp_group, get_world_group
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.layers.attention import is_deferred_attention_layer
from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import (
    UnquantizedFusedMoEMethod,
)
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.layers.quantization.base_config import QuantizeMethodBase
from vllm.model_executor.layers.vocab_parallel_embedding import UnquantizedEmbeddingMethod
from vllm.model_executor.model_loader.reload.layerwise import (
    _get_original_loader,
    get_layerwise_info,
)
from vllm.model_executor.model_loader.reload.meta import materialize_layer, restore_layer_on_meta
from vllm.platforms import current_platform

from pvc.live.vllm.ranks.rank import Rank
from pvc.live.vllm.ranks.share_part import Handling
from pvc.live.vllm.refusals import (
    BACKEND,
    UnsupportedEngineError,
    check_config,
    has_backend,
    keeps_packing,
)
from pvc.live.vllm.tracing.cache import Setting, TraceCache

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from vllm.config import VllmConfig
    from vllm.config.weight_transfer import WeightTransferConfig

    from pvc.live.vllm.tracing.trace import Described, Trace

log = logging.getLogger("vllm.pvc")

METHODS = {UnquantizedLinearMethod, UnquantizedEmbeddingMethod, UnquantizedFusedMoEMethod}
"""What may work on modules that are to be loaded once more."""

SAMPLES, SAMPLE_PERIOD = 4, 17

_linear = torch.nn.functional.linear


def install() -> None:
    """Register the backend; may be called again."""
    if BACKEND not in WeightTransferEngineFactory._registry:  # noqa: SLF001  # cannot be asked
        WeightTransferEngineFactory.register_engine(BACKEND, Backend)
        if current_platform.is_cpu():
            _keep_matrices()


@dataclass
class Call(WeightTransferInitInfo):
    """Where the process is that all ranks are to join; see pvc.live.vllm.ranks.ranks."""

    address: str


@dataclass
class Nothing(WeightTransferUpdateInfo):
    """Updates do not come this way."""


class Backend(WeightTransferEngine[Call, Nothing]):
    """One worker's weights, shared."""

    init_info_cls = Call
    update_info_cls = Nothing
    supports_draft_weight_update = False

    def __init__(
        self,
        config: WeightTransferConfig,
        vllm_config: VllmConfig,
        device: torch.device,
        model: torch.nn.Module,
    ) -> None:
        super().__init__(config, vllm_config, device, model)
        check_config(vllm_config)
        if current_platform.is_cpu() and not keeps_packing(vllm_config):
            log.info("pvc: Linear weights stay as they were loaded; vLLM's packing is off.")
        folder, rank = _folder(vllm_config.model_config), get_world_group().rank
        cache, setting = TraceCache(Path(envs.VLLM_CACHE_ROOT) / "pvc"), _setting(vllm_config)
        tracing = functools.partial(cache.trace, setting=setting)
        handling = Handling(tracing, Modules(vllm_config, cache, setting))
        self._rank = Rank(model, folder, rank, handling)

    def init_transfer_engine(self, init_info: Call) -> None:
        """Join the process that clients talk to."""
        self._rank.join(init_info.address)

    def start_weight_update(self) -> None:
        """Refuse: weights come from pvc's clients only."""
        raise UnsupportedEngineError(("weights of the backend pvc are changed by pvc only",))

    def receive_weights(self, update_info: Nothing) -> None:
        """Refuse, as `start_weight_update`."""
        self.start_weight_update()

    def finish_weight_update(self) -> None:
        """Refuse, as `start_weight_update`."""
        self.start_weight_update()

    def shutdown(self) -> None:
        """Leave; the weights stay where they are."""
        self._rank.leave()


class Modules:
    """What vLLM does with the modules of a model; see `framework.Framework`.

    Args:
        config: that of this vLLM.
        cache: where traces are kept.
        setting: how this worker loads models.
    """

    def __init__(self, config: VllmConfig, cache: TraceCache, setting: Setting) -> None:
        self._config = config
        self._cache = cache
        self._setting = setting
        self._compiled = config.compilation_config.mode != CompilationMode.NONE

    def context(self) -> AbstractContextManager[None]:
        """See `Framework.context`."""
        found: AbstractContextManager[None] = set_current_vllm_config(self._config)
        return found

    def trace(self, model: torch.nn.Module, tensors: Mapping[str, Described]) -> Trace:
        """See `Framework.trace`."""
        setting = replace(self._setting, engine=f"{self._setting.engine}, before loading")
        return self._cache.trace(model, tensors, setting)

    def refusal(self, module: torch.nn.Module) -> str | None:
        """See `Framework.refusal`."""
        method, kind = _method(module), type(module).__name__
        if not current_platform.is_cpu():
            return "what vLLM works on after loading can be changed on CPUs only, so far"
        if is_deferred_attention_layer(module):
            return f"vLLM works on modules of the kind {kind} at the end, which was not tested"
        if method is not None and type(method) not in METHODS:
            return f"pvc does not know what {type(method).__name__} does to a {kind}"
        if self._compiled and self.keeps_copy(module):
            return "it is packed, and the compiled model holds on to what was packed"
        return None

    def is_worked_on(self, module: torch.nn.Module) -> bool:
        """See `Framework.is_worked_on`."""
        return _method(module) is not None

    def keeps_copy(self, module: torch.nn.Module) -> bool:
        """See `Framework.keeps_copy`."""
        return vars(module).get("cpu_linear", _linear) is not _linear

    def empty(self, module: torch.nn.Module, *, real: bool) -> None:
        """See `Framework.empty`."""
        info = get_layerwise_info(module)
        restore_layer_on_meta(module, info)
        for one in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            if hasattr(one, "weight_loader"):  # vLLM's own `reload_weights` leaves its loaders here
                one.weight_loader = _get_original_loader(one)
        if real:
            materialize_layer(module, info)

    def finish(self, module: torch.nn.Module) -> None:
        """See `Framework.finish`."""
        method: Any = _method(module)
        kernel = getattr(method, "moe_kernel", None)
        method.process_weights_after_loading(module)
        if kernel is not None:  # vLLM lets it pack the experts only when it has made it
            kernel.fused_experts.process_weights_after_loading(module)

    def sample(self, module: torch.nn.Module) -> torch.Tensor | None:
        """See `Framework.sample`."""
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
    """What works on a module after it was loaded."""
    found = getattr(module, "quant_method", None)
    return found if isinstance(found, QuantizeMethodBase) else None


def _setting(config: VllmConfig) -> Setting:
    """What decides how a model is loaded."""
    tensor, pipeline = get_tp_group(), get_pp_group()
    return Setting(
        model=config.model_config.compute_hash(),
        engine=f"vllm {vllm.__version__}",
        tensor_rank=tensor.rank_in_group,
        tensor_size=tensor.world_size,
        pipeline_rank=pipeline.rank_in_group,
        pipeline_size=pipeline.world_size,
    )


def _folder(model: Any) -> Path:
    """Where the model's checkpoint is; it has just been loaded, so it is on this machine."""
    folder = Path(model.model)
    if folder.is_dir():
        return folder
    return Path(snapshot_download(model.model, revision=model.revision, local_files_only=True))


def _keep_matrices() -> None:
    """Let vLLM on CPUs compute with the weights that were loaded, not with packed copies."""
    packing = layer_utils.dispatch_cpu_unquantized_gemm

    @functools.wraps(packing)
    def dispatch(layer: torch.nn.Module, remove_weight: bool) -> None:
        config = get_current_vllm_config_or_none()
        ours = config is not None and has_backend(config) and not keeps_packing(config)
        if not ours or layer.weight.ndim != 2:
            packing(layer, remove_weight)
            return
        vars(layer)["cpu_linear"] = _linear

    layer_utils.dispatch_cpu_unquantized_gemm = dispatch
