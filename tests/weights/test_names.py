from __future__ import annotations

import pytest

from pvc.weights.tensor_names import ROLES, layer, role

NAMES = [
    # Llama, Qwen3
    ("model.embed_tokens.weight", "embed", None),
    ("model.layers.0.input_layernorm.weight", "norm", 0),
    ("model.layers.12.self_attn.q_proj.weight", "q", 12),
    ("model.layers.12.self_attn.q_proj.bias", "q", 12),
    ("model.layers.12.self_attn.k_proj.weight", "k", 12),
    ("model.layers.12.self_attn.v_proj.weight", "v", 12),
    ("model.layers.12.self_attn.o_proj.weight", "o", 12),
    ("model.layers.12.self_attn.q_norm.weight", "norm", 12),
    ("model.layers.12.mlp.gate_proj.weight", "gate", 12),
    ("model.layers.12.mlp.up_proj.weight", "up", 12),
    ("model.layers.12.mlp.down_proj.weight", "down", 12),
    ("model.layers.12.post_attention_layernorm.weight", "norm", 12),
    ("model.norm.weight", "norm", None),
    ("lm_head.weight", "head", None),
    ("output.weight", "head", None),
    # Qwen3.5, Qwen3-Next
    ("model.language_model.embed_tokens.weight", "embed", None),
    ("model.language_model.layers.3.self_attn.q_proj.weight", "q", 3),
    ("model.language_model.layers.0.linear_attn.in_proj_qkv.weight", "linear_in", 0),
    ("model.language_model.layers.0.linear_attn.in_proj_z.weight", "linear_in", 0),
    ("model.language_model.layers.0.linear_attn.in_proj_a.weight", "linear_gate", 0),
    ("model.language_model.layers.0.linear_attn.in_proj_b.weight", "linear_gate", 0),
    ("model.language_model.layers.0.linear_attn.A_log", "linear_gate", 0),
    ("model.language_model.layers.0.linear_attn.dt_bias", "linear_gate", 0),
    ("model.language_model.layers.0.linear_attn.conv1d.weight", "linear_conv", 0),
    ("model.language_model.layers.0.linear_attn.norm.weight", "norm", 0),
    ("model.language_model.layers.0.linear_attn.out_proj.weight", "linear_out", 0),
    ("model.layers.0.linear_attn.in_proj_qkvz.weight", "linear_in", 0),
    ("model.layers.0.linear_attn.in_proj_ba.weight", "linear_gate", 0),
    ("model.visual.blocks.3.attn.qkv.weight", "other", None),
    ("model.visual.patch_embed.proj.weight", "other", None),
    ("mtp.layers.0.self_attn.q_proj.weight", "other", None),
    # Mixtral, Qwen3-MoE, DeepSeek, gpt-oss
    ("model.layers.1.block_sparse_moe.gate.weight", "router", 1),
    ("model.layers.1.block_sparse_moe.experts.7.w1.weight", "experts", 1),
    ("model.layers.1.mlp.gate.weight", "router", 1),
    ("model.layers.1.mlp.gate.e_score_correction_bias", "router", 1),
    ("model.layers.1.mlp.experts.127.gate_proj.weight", "experts", 1),
    ("model.layers.1.mlp.experts.gate_up_proj", "experts", 1),
    ("model.layers.1.mlp.experts.gate_up_proj_bias", "experts", 1),
    ("model.layers.1.mlp.router.bias", "router", 1),
    ("model.layers.1.mlp.shared_expert.up_proj.weight", "up", 1),
    ("model.layers.1.mlp.shared_expert_gate.weight", "router", 1),
    ("model.layers.1.self_attn.q_a_proj.weight", "q", 1),
    ("model.layers.1.self_attn.kv_a_proj_with_mqa.weight", "kv", 1),
    ("model.layers.1.self_attn.kv_a_layernorm.weight", "norm", 1),
    ("model.layers.1.self_attn.kv_b_proj.weight", "kv", 1),
    ("model.layers.1.self_attn.sinks", "other", 1),
    # GPT-2, with and without its prefix
    ("transformer.wte.weight", "embed", None),
    ("wpe.weight", "embed", None),
    ("transformer.h.5.ln_1.bias", "norm", 5),
    ("transformer.h.5.attn.c_attn.weight", "qkv", 5),
    ("transformer.h.5.attn.c_proj.bias", "o", 5),
    ("h.5.mlp.c_fc.weight", "up", 5),
    ("h.5.mlp.c_proj.weight", "down", 5),
    ("transformer.ln_f.weight", "norm", None),
    # GPT-NeoX, Phi, Phi-3, MPT
    ("gpt_neox.embed_in.weight", "embed", None),
    ("gpt_neox.layers.2.attention.query_key_value.bias", "qkv", 2),
    ("gpt_neox.layers.2.attention.dense.weight", "o", 2),
    ("gpt_neox.layers.2.mlp.dense_h_to_4h.weight", "up", 2),
    ("gpt_neox.layers.2.mlp.dense_4h_to_h.bias", "down", 2),
    ("gpt_neox.final_layer_norm.bias", "norm", None),
    ("embed_out.weight", "head", None),
    ("model.layers.2.self_attn.dense.weight", "o", 2),
    ("model.layers.2.mlp.fc1.weight", "up", 2),
    ("model.layers.2.mlp.fc2.bias", "down", 2),
    ("model.layers.2.self_attn.qkv_proj.weight", "qkv", 2),
    ("model.layers.2.mlp.gate_up_proj.weight", "gate_up", 2),
    ("transformer.blocks.2.attn.Wqkv.weight", "qkv", 2),
    # BERT, T5, Mamba, Nemotron-H
    ("bert.embeddings.word_embeddings.weight", "embed", None),
    ("bert.embeddings.LayerNorm.weight", "norm", None),
    ("bert.encoder.layer.4.attention.self.query.weight", "q", 4),
    ("bert.encoder.layer.4.attention.output.dense.weight", "o", 4),
    ("bert.encoder.layer.4.intermediate.dense.weight", "up", 4),
    ("bert.encoder.layer.4.output.dense.bias", "down", 4),
    ("cls.predictions.transform.dense.weight", "head", None),
    ("shared.weight", "embed", None),
    ("decoder.block.4.layer.1.EncDecAttention.k.weight", "k", 4),
    ("encoder.block.4.layer.1.DenseReluDense.wi_0.weight", "gate", 4),
    ("encoder.block.4.layer.1.DenseReluDense.wo.weight", "down", 4),
    ("backbone.layers.4.mixer.in_proj.weight", "linear_in", 4),
    ("backbone.layers.4.mixer.x_proj.weight", "linear_gate", 4),
    ("backbone.layers.4.mixer.D", "linear_gate", 4),
    ("backbone.layers.4.mixer.out_proj.weight", "linear_out", 4),
    ("model.layers.4.mixer.q_proj.weight", "q", 4),
    ("model.layers.4.mixer.up_proj.weight", "up", 4),
    # quantised and adapted modules
    ("model.layers.9.self_attn.q_proj.weight_scale_inv", "q", 9),
    ("model.layers.9.mlp.down_proj.qweight", "down", 9),
    ("base_model.model.model.layers.9.self_attn.v_proj.lora_A.weight", "v", 9),
    # beside the language model
    ("vision_tower.vision_model.encoder.layers.4.self_attn.q_proj.weight", "other", None),
    ("model.multi_modal_projector.linear_1.weight", "other", None),
    ("model.image_newline", "other", None),
    ("anything", "other", None),
    ("a.7.b", "other", 7),
]


@pytest.mark.parametrize(("name", "expected", "number"), NAMES, ids=[name for name, *_ in NAMES])
def test_role_and_layer_of_real_names(name: str, expected: str, number: int | None) -> None:
    assert role(name) == expected
    assert layer(name) == number


def test_every_role_is_listed_and_met() -> None:
    assert {expected for _, expected, _ in NAMES} == set(ROLES)
