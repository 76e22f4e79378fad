"""Checkpoints that vLLM can load in a moment, and what is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from blake3 import blake3
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    Qwen3NextConfig,
    Qwen3NextForCausalLM,
)

from pvc.weights.checkpoint import Checkpoint
from pvc.weights.reader import CheckpointReader
from pvc_store.block import BLOCK_BYTES
from pvc_store.ids import block_key
from pvc_store.tree import Tensor as StoredTensor
from pvc_store.tree import Tree, block_count
from tests.live.conftest import Weights

if TYPE_CHECKING:
    from pathlib import Path

WORDS = 1024
PROMPTS = ([at * 7 % 1000 + 3 for at in range(200)], list(range(5, 30)))
"""The first is longer than vLLM's cache block on CPUs, 128 tokens."""

_SHAPE: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
    "max_position_embeddings": 512, "eos_token_id": 2, "bos_token_id": None, "pad_token_id": None,
}  # fmt: skip
_EXPERTS: dict[str, Any] = {
    "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64,
    "decoder_sparse_step": 1,
}  # fmt: skip

_LINEAR: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 64,
    "linear_value_head_dim": 64, "linear_conv_kernel_dim": 4,
    "shared_expert_intermediate_size": 64, "layer_types": ["linear_attention", "full_attention"],
    "tie_word_embeddings": False,
}  # fmt: skip


def make(folder: Path, kind: str, step: float = 0.0) -> Path:
    """Save a random model, moved by `step` from what it else would be; in bfloat16."""
    torch.manual_seed(0)
    model: torch.nn.Module
    if kind == "next":
        model = Qwen3NextForCausalLM(Qwen3NextConfig(**_SHAPE, **_EXPERTS, **_LINEAR))
    elif kind == "moe":
        model = Qwen3MoeForCausalLM(Qwen3MoeConfig(**_SHAPE, **_EXPERTS, tie_word_embeddings=False))
    else:
        shape = {**_SHAPE, "num_key_value_heads": 1 if kind == "grouped" else 2}
        options = {"tie_word_embeddings": kind == "tied", "attention_bias": kind == "biased"}
        model = Qwen3ForCausalLM(Qwen3Config(**shape, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn_like(parameter)
            spread = 0.08 if parameter.ndim > 1 else 0.1
            parameter.mul_(parameter.ndim == 1).add_(noise * spread)
            parameter.add_(torch.randn_like(parameter) * step)
    model.to(torch.bfloat16).save_pretrained(folder)  # type: ignore[operator]
    words = Tokenizer(WordLevel({f"t{word}": word for word in range(WORDS)}, unk_token="t0"))
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t2").save_pretrained(folder)
    return folder


def content(folder: Path) -> Weights:
    """What is in a checkpoint."""
    checkpoint = Checkpoint.open(folder)
    raw, tensors = {}, []
    with CheckpointReader(checkpoint) as reader:
        for name, place in checkpoint.tensors.items():
            data = np.empty(place.nbytes, np.uint8)
            reader.read_into(place, 0, data)
            parts = (
                data[at * BLOCK_BYTES : (at + 1) * BLOCK_BYTES]
                for at in range(block_count(len(data)))
            )
            keys = b"".join(block_key(part.data) for part in parts)
            digest = blake3(data.data).digest()
            tensors.append(StoredTensor(name, place.kind, place.shape, digest, keys))
            raw[name] = data
    return Weights(Tree(tensors), raw)
