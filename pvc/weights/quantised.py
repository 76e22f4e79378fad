"""Quantised weights: tensors of codes, which mean numbers only together with their scales.

Names as writers have them: fine-grained FP8 of transformers and vLLM (`weight_scale_inv`),
compressed-tensors (`weight_scale`, `weight_packed`), GPTQ and AWQ (`qweight`, `scales`),
bitsandbytes (`absmax`, `SCB`), MXFP4 (`_blocks`, `_scales`), quanto (`_data`, `_scale`).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

_ENDINGS = (
    ("weight_scale_inv", ("weight",)),
    ("weight_scale", ("weight", "weight_packed")),
    ("weight_scale_2", ("weight", "weight_packed")),
    ("weight_global_scale", ("weight_packed", "weight")),
    ("weight_zero_point", ("weight_packed", "weight")),
    ("weight_shape", ("weight_packed",)),
    ("weight_g_idx", ("weight_packed",)),
    ("input_scale", ("weight", "weight_packed")),
    ("input_global_scale", ("weight_packed", "weight")),
    ("weight_scales", ("weight",)),
    ("scale_weight", ("weight",)),
    ("scale_input", ("weight",)),
    ("weight._scale", ("weight._data",)),
    ("scales", ("qweight",)),
    ("qzeros", ("qweight",)),
    ("g_idx", ("qweight",)),
    ("weight.absmax", ("weight",)),
    ("weight.nested_absmax", ("weight",)),
    ("SCB", ("weight",)),
    ("_scale_inv", ("",)),
    ("_scale", ("",)),
    ("_scales", ("_blocks",)),
)
"""What the name of a scale ends with, and what its codes end with instead."""


_SCALE = re.compile("scale|amax|absmax", re.IGNORECASE)

CODE_BITS = 8
"""Floats of more bits than this are no codes."""


def says_quantised(config: bytes) -> bool:
    """Whether a model's `config.json` has a `quantization_config`, for all of it or a part."""
    try:
        found = json.loads(config)
    except (ValueError, RecursionError):
        return False
    parts = [found, *found.values()] if isinstance(found, dict) else []
    return any(isinstance(part, dict) and part.get("quantization_config") for part in parts)


def partners(names: Collection[str], narrow: Collection[str] = ()) -> dict[str, str]:
    """For each tensor of codes or scales one that it has to be read with, by name.

    Args:
        names: all tensors.
        narrow: those of floats of at most CODE_BITS bits: they are codes wherever their module has
            a scale, whatever it is called.
    """
    known = set(names)
    found: dict[str, str] = {}
    for name in sorted(known):
        for ending, codes in _ENDINGS:
            stem = name.removesuffix(ending)
            if stem == name or not (stem.endswith(".") or ending.startswith("_") or not stem):
                continue
            partner = next((stem + code for code in codes if stem + code in known), None)
            if partner is not None and partner != name:
                found.setdefault(partner, name)
                found[name] = partner
                break
    scales = _scales(known - set(narrow))
    for name in sorted(set(narrow) - found.keys()):
        module = name.rpartition(".")[0]
        scale = scales.get(module)
        if scale is not None:
            found[name] = scale
            found.setdefault(scale, name)
    return found


def _scales(names: Collection[str]) -> dict[str, str]:
    """Modules -> a tensor of theirs, or of a part of theirs, that is called a scale."""
    found: dict[str, str] = {}
    for name in sorted(names):
        module, _, last = name.rpartition(".")
        above, _, part = module.rpartition(".")
        if _SCALE.search(last):
            found.setdefault(module, name)
        if above and (_SCALE.search(last) or _SCALE.search(part)):
            found.setdefault(above, name)
    return found
