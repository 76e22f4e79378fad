"""All names of vLLM that pvc uses; the one module that imports it.

vLLM 0.32 (`plugin.SUPPORTED`).  What another version moves or renames shows here first.
"""

import vllm
import vllm.model_executor.layers.utils as layer_utils
from vllm import envs
from vllm.config import CompilationMode, VllmConfig, set_current_vllm_config
from vllm.config.vllm import get_current_vllm_config_or_none
from vllm.config.weight_transfer import WeightTransferConfig
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
    _get_original_loader as get_original_loader,
)
from vllm.model_executor.model_loader.reload.layerwise import get_layerwise_info
from vllm.model_executor.model_loader.reload.meta import materialize_layer, restore_layer_on_meta
from vllm.platforms import current_platform

VERSION: str = vllm.__version__

__all__ = [
    "VERSION",
    "CompilationMode",
    "QuantizeMethodBase",
    "UnquantizedEmbeddingMethod",
    "UnquantizedFusedMoEMethod",
    "UnquantizedLinearMethod",
    "VllmConfig",
    "WeightTransferConfig",
    "WeightTransferEngine",
    "WeightTransferEngineFactory",
    "WeightTransferInitInfo",
    "WeightTransferUpdateInfo",
    "current_platform",
    "envs",
    "get_current_vllm_config_or_none",
    "get_layerwise_info",
    "get_original_loader",
    "get_pp_group",
    "get_tp_group",
    "get_world_group",
    "is_deferred_attention_layer",
    "layer_utils",
    "materialize_layer",
    "restore_layer_on_meta",
    "set_current_vllm_config",
]
