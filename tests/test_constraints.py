"""The versions beside vLLM are those that pvc is tested with, but for what vLLM does not allow."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def versions(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text().splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_constraints_agree() -> None:
    own, beside = versions("constraints.txt"), versions("constraints-vllm.txt")
    other = {name for name in own if beside.get(name) != own[name]}
    assert other == {"llvmlite", "numba", "numpy"}
