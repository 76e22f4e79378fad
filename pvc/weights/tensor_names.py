"""Roles and layers of tensors, as far as their names tell.

The names are those of Hugging Face models.  Biases and scales have the role of their module.

    embed head norm                    in and out of the layers, and between their parts
    q k v kv qkv o                     attention; kv and qkv are fused
    gate up down gate_up               dense MLP; one without a gate has up and down
    experts router                     mixture of experts; shared experts count as dense MLP
    linear_in linear_conv linear_out   linear attention and state-space layers
    linear_gate                        their gates, decays and step sizes
    other                              all else, and all towers beside the language model: vision,
                                       audio, projectors, multi-token prediction
"""

from __future__ import annotations

import re
from functools import lru_cache

ROLES = (
    "embed", "norm", "q", "k", "v", "kv", "qkv", "o",
    "linear_in", "linear_conv", "linear_gate", "linear_out",
    "gate", "up", "down", "gate_up", "router", "experts", "head", "other",
)  # fmt: skip
"""Every role, from the bottom of a model to its top."""

_ATTENTION = r"\w*(attn|[aA]ttention)\."
_LINEAR = r"(linear_attn|mamba\w*|mixer|ssm|conv)\."

# The first row that fits the end of a module's name decides.
_ROWS = (
    ("norm", r"\w*[nN]orm\w*(\.norm|\.\d+)?|(\w+_)?ln(_?\w{1,3})?"),
    ("router", r"router(\..+)?"),
    ("experts", r"experts(\..+)?"),
    ("router", r"gate(\..+)?|shared_expert_gate|expert_bias|\w*score_correction_bias"),
    ("head", r"\w*lm_head(\..+)?|embed_out|output_projection|proj_out|lm_loss|predictions(\..+)?"),
    ("embed", r"\w*embed\w*(\.\w+)?|wte|wpe|shared"),
    ("linear_in", rf"in_proj_(qkvz?|z)|{_LINEAR}in_proj|linear_attn\.[qkv]_proj|linear_[xy]"),
    ("linear_conv", r"\w*conv_?1d|conv\.conv"),
    ("linear_gate", r"in_proj_(a|b|ba)|A_log|dt_bias|D|(dt|x|[abf]|[fg]_[ab])_proj|rg_lru\.\w+"),
    ("linear_gate", r"linear_attn\.g_proj"),
    ("linear_out", rf"{_LINEAR}out_proj|linear_attn\.o_proj|linear_out"),
    ("other", rf"(indexer|compressor)\..+|{_ATTENTION}((q_)?gate_proj|g_proj)"),
    ("qkv", r"qkv(_proj)?|[wW]qkv|c_attn|query_key_value|W_pack|in_proj(_weight|_bias)?"),
    ("kv", r"kv_(proj|a_proj_with_mqa|b_proj)"),
    ("q", rf"(q|query|q_a|q_b)_proj|q_lin|project_q|{_ATTENTION}(self\.)?([wW]?q|query)"),
    ("k", rf"(k|key)_proj|k_lin|project_k|{_ATTENTION}(self\.)?([wW]?k|key)"),
    ("v", rf"(v|value)_proj|v_lin|project_v|{_ATTENTION}(self\.)?([wW]?v|value)"),
    ("o", rf"o(_a|_b)?_proj|out_lin|{_ATTENTION}(out_proj|c_proj|proj|[wW]?o)"),
    ("o", rf"{_ATTENTION}(output|dense|output\.dense)"),
    ("gate_up", r"gate_up_proj|mlp\.Wi|input_linear"),
    ("gate", r"gate_proj|w1|wi_0"),
    ("up", r"up_proj|w3|wi|wi_1|fc1|fc_in|c_fc|dense_h_to_4h|lin1|intermediate\.dense"),
    ("down", r"down_proj|w2|[wW]o|fc2|fc_out|c_proj|dense_4h_to_h|lin2|output(\.dense|_linear)"),
    ("head", r"output_layer|^(output|head|decoder|score|classifier)"),
)
_TABLE = tuple((role, re.compile(rf"(^|\.)({pattern})$")) for role, pattern in _ROWS)

# What follows the module's name: its parameter, or the parts of a quantised or adapted one.
_PARAMETER = re.compile(
    r"(\.(q?weight(_\w+)?|bias|qzeros|scales|g_idx|input_scale|linear|base_layer|default|lora_\w+))+$"
)
_NUMBER = re.compile(r"(?<=\.)[0-9]+(?=\.)")
_TOWER = re.compile(
    r"(^|\.)(mtp|vit|q_?former|language_projection"
    r"|\w*(vision|visual|image|patch|audio|video|speech|projector|aligner|connector|merger|resampler"
    r"|vqmodel)\w*)(\.|$)"
)


def role(name: str) -> str:
    """The role of the tensor of this name, one of ROLES."""
    return _role(_NUMBER.sub("0", name))


def layer(name: str) -> int | None:
    """The layer of the language model that holds the tensor, from 0; None if none does."""
    if _TOWER.search(name) or role(name) in {"embed", "head"}:
        return None
    return next((int(part) for part in name.split(".") if part.isdecimal()), None)


@lru_cache(maxsize=4096)
def _role(name: str) -> str:
    """The role of a name whose numbers are all 0: a model has few of these."""
    if _TOWER.search(name):
        return "other"
    module = _PARAMETER.sub("", name)
    return next((role for role, pattern in _TABLE if pattern.search(module)), "other")
