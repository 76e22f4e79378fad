"""Codes and scales are found by their names."""

from __future__ import annotations

import pytest

from pvc.weights.quantised import partners


@pytest.mark.parametrize(
    ("codes", "scale"),
    [
        ("a.weight", "a.weight_scale_inv"),
        ("a.weight", "a.weight_scale"),
        ("a.weight", "a.input_scale"),
        ("a.weight_packed", "a.weight_scale"),
        ("a.weight_packed", "a.weight_shape"),
        ("a.qweight", "a.scales"),
        ("a.qweight", "a.qzeros"),
        ("a.weight", "a.SCB"),
        ("a.weight", "a.weight.absmax"),
        ("mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj_scale_inv"),
        ("mlp.experts.down_proj", "mlp.experts.down_proj_scale"),
        ("mlp.experts.down_proj_blocks", "mlp.experts.down_proj_scales"),
    ],
)
def test_pairs(codes: str, scale: str) -> None:
    assert partners({codes, scale, "norm.weight"}) == {codes: scale, scale: codes}
    assert partners({scale, "b.weight", "norm.weight"}) == {}


def test_what_only_looks_alike() -> None:
    assert partners({"layer_scale", "layer.weight", "a.scales", "a.weight", "logit_scale"}) == {}
