"""vLLM's models, loaded as its workers load them, but without an engine around them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_CI_ENV": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}

_BASE: dict[str, Any] = {
    "vocab_size": 1000, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
    "tie_word_embeddings": False, "bos_token_id": None, "pad_token_id": None, "eos_token_id": 2,
}  # fmt: skip
_EXPERTS = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
}  # fmt: skip
_LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 64,
    "linear_value_head_dim": 64, "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 64, "layer_types": ["linear_attention", "full_attention"],
}  # fmt: skip
_HEADS = {"head_dim": 64}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3 tied": ("Qwen3Config", {**_HEADS, "tie_word_embeddings": True}),
    "qwen3 untied": ("Qwen3Config", _HEADS),
    "llama": ("LlamaConfig", _HEADS),
    "qwen3 moe": ("Qwen3MoeConfig", {**_HEADS, **_EXPERTS}),
    "qwen3 next": ("Qwen3NextConfig", {**_HEADS, **_EXPERTS, **_LINEAR}),
    "gemma3": ("Gemma3TextConfig", {**_HEADS, "tie_word_embeddings": True}),
    "phi3": ("Phi3Config", {}),
    "olmo2": ("Olmo2Config", {}),
    "one head": ("Qwen3Config", {**_HEADS, "num_key_value_heads": 1}),
}


def make(name: str, folder: Path) -> Path:
    """Save a small random model; in bf16, made and filled in fp32."""
    import transformers

    torch.manual_seed(0)
    kind, options = CONFIGS[name]
    config = getattr(transformers, kind)(**{**_BASE, **options})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.08)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder


class Workers:
    """What the workers of a vLLM share, so that they can load models.

    Args:
        meeting: a file by which they find one another.
        rank: this one's number.
        size: how many there are.
    """

    def __init__(self, meeting: Path, rank: int = 0, size: int = 1) -> None:
        os.environ.update(QUIET)
        os.environ["VLLM_DIST_IDENT"] = meeting.parent.name  # as vLLM's own workers set it
        import vllm.v1.worker.cpu_worker  # noqa: F401  # prepares torch for CPUs

        from pvc.live.vllm import plugin

        plugin.register()
        self._place = meeting, rank, size
        self._joined = False

    def load(self, folder: Path, **options: Any) -> Any:
        """Load this worker's part of a model, with linear weights as pvc keeps them."""
        from vllm import distributed
        from vllm.config import set_current_vllm_config
        from vllm.engine.arg_utils import EngineArgs
        from vllm.model_executor.model_loader import get_model

        meeting, rank, size = self._place
        options = {
            "weight_transfer_config": {"backend": "pvc"}, "enforce_eager": True, **options,
        }  # fmt: skip
        arguments = EngineArgs(
            model=str(folder), dtype="bfloat16", skip_tokenizer_init=True,
            max_model_len=256, tensor_parallel_size=size, **options,
        )  # fmt: skip
        self.config = config = arguments.create_engine_config()
        with set_current_vllm_config(config):
            if self._joined:
                distributed.destroy_model_parallel()
            else:
                where = f"file://{meeting}"
                distributed.init_distributed_environment(size, rank, where, rank, "gloo")
                self._joined = True
            distributed.ensure_model_parallel_initialized(size, 1)
            return get_model(vllm_config=config)

    def leave(self) -> None:
        """Forget the others."""
        from vllm import distributed

        distributed.destroy_model_parallel()
        distributed.destroy_distributed_environment()
