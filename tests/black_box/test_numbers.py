"""A sum that overflows is refused, not verified."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.black_box.pvc_process import pvc, sure

if TYPE_CHECKING:
    from pathlib import Path

E4M3 = {400.0: 0x7C, 448.0: 0x7E, 1.0: 0x38, 240.0: 0x77, float("nan"): 0x7F}
"""The codes of some numbers, rounded down to the format's."""


def save(folder: Path, dtype: str, values: list[float], **more: tuple[str, bytes]) -> None:
    """Write a model by hand: numpy has no eight-bit floats."""
    raw = {
        "F8_E4M3": lambda: bytes(E4M3[value] for value in values),
        "F16": lambda: np.array(values, "<f2").tobytes(),
        "F32": lambda: np.array(values, "<f4").tobytes(),
    }[dtype]()
    tensors = {"w.weight": (dtype, raw, [len(values)])}
    tensors |= {name: (kind, data, [1]) for name, (kind, data) in more.items()}
    header, body = {}, b""
    for name, (kind, data, shape) in tensors.items():
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + body)
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("dtype", "base", "tuned", "scale"),
    [
        ("F8_E4M3", [400.0, 1.0], [448.0, 1.0], "2"),
        ("F16", [40000.0, 1.0], [60000.0, 1.0], "2"),
        ("F32", [1.0, 1.0], [1e30, 1.0], "1e300"),
        ("F32", [3e38, 1.0], [-3e38, 1.0], "-0.5"),
    ],
)
@pytest.mark.parametrize("way", ["checkout", "build"])
def test_an_overflow_is_refused(
    tmp_path: Path, dtype: str, base: list[float], tuned: list[float], scale: str, way: str
) -> None:
    save(tmp_path / "base", dtype, base)
    save(tmp_path / "tuned", dtype, tuned)
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "a", "--from", "../tuned")
    expression = f"base + {scale}*a" if not scale.startswith("-") else f"base - {scale[1:]}*a"
    command = (
        ("checkout", expression, "--to", "../out") if way == "checkout" else ("build", expression)
    )
    for _ in range(2):
        done = pvc(work, *command)
        assert done.code == 16, done.err
        assert "w.weight (1 element" in done.err
        assert not (tmp_path / "out").exists()
    done = pvc(work, *command, "--allow-nonfinite")
    assert (done.code, "Inf or NaN in w.weight" in done.err) == (0, True)
    assert pvc(work, "build", expression).code == 16
    assert sure(work, "fsck")


def test_no_false_alarm(tmp_path: Path) -> None:
    """Neither where a sum fits, nor where an input is NaN itself."""
    save(tmp_path / "base", "F16", [40000.0, float("inf"), float("nan"), 1.0])
    save(tmp_path / "tuned", "F16", [50000.0, float("inf"), float("nan"), 2.0])
    save(tmp_path / "broken", "F16", [40000.0, float("inf"), float("nan"), float("inf")])
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "a", "--from", "../tuned")
    sure(work, "commit", "b", "--from", "../broken", "--aside", "--allow-nonfinite")
    sure(work, "checkout", "base + 2*a", "--to", "../out")
    sure(work, "checkout", "base + 0.5*b", "--to", "../broken_sum")


def test_codes_and_scales_are_not_added(tmp_path: Path) -> None:
    scale = "w.weight_scale_inv"
    save(tmp_path / "base", "F8_E4M3", [240.0, 1.0], **{scale: ("F32", np.float32(2).tobytes())})
    save(tmp_path / "tuned", "F8_E4M3", [400.0, 1.0], **{scale: ("F32", np.float32(3).tobytes())})
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "a", "--from", "../tuned")
    sure(work, "checkout", "main", "--to", "../out")
    restored, tuned = (tmp_path / name / "model.safetensors" for name in ("out", "tuned"))
    assert restored.read_bytes() == tuned.read_bytes()
    for command in (("scale", "a", "0.5"), ("checkout", "base + 0.5*a", "--to", "../x")):
        done = pvc(work, *command)
        assert done.code == 19
        assert "quantised" in done.err
        assert "dequantise" in done.err


@pytest.mark.parametrize("text", ['{"quantization_config": {"quant_method": "own"}}', "{}"])
def test_what_the_configuration_says_of_codes(tmp_path: Path, text: str) -> None:
    """Whatever the scales are called, or wherever they are."""
    for name, values in (("base", [240.0, 1.0]), ("tuned", [400.0, 1.0])):
        save(tmp_path / name, "F8_E4M3", values)
        (tmp_path / name / "config.json").write_text(text)
    sure(tmp_path, "init", "work", "--base", "base")
    work = tmp_path / "work"
    sure(work, "commit", "a", "--from", "../tuned")
    sure(work, "checkout", "main", "--to", "../out")
    done = pvc(work, "checkout", "base + 0.5*a", "--to", "../x")
    assert done.code == (0 if text == "{}" else 19), done
    assert ("quantised" in done.err) == (text != "{}")
