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


@pytest.mark.parametrize(
    ("codes", "scale"),
    [
        ("l.q.weight", "l.q.scale"),
        ("l.q.weight", "l.q.qscale_weight"),
        ("l.q._weight_qdata", "l.q._weight_scale"),
        ("l.q.weight", "l.q.scales"),
        ("l.q.weight", "l.q.weight.scale"),
        ("l.experts.w1", "l.experts.w1_scales"),
        ("l.experts.w1", "l.experts.w1.scale"),
        ("l.q.weight", "l.q.weight_amax"),
        ("l.q.weight", "l.q.weight_quantizer._scale"),
        ("l.q.weight", "l.q.deq_scale"),
    ],
)
def test_narrow_floats_beside_a_scale_are_codes(codes: str, scale: str) -> None:
    assert partners({codes, scale, "norm.weight"}, {codes}) == {codes: scale, scale: codes}
    assert partners({codes, "norm.weight"}, {codes}) == {}


def test_narrow_floats_without_a_scale_are_numbers() -> None:
    """A model that was only cast has scales of its own elsewhere."""
    names = {"layers.0.q.weight", "layers.0.layer_scale", "logit_scale", "layers.0.norm.scale"}
    assert partners(names, {"layers.0.q.weight"}) == {}
