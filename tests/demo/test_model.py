from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from pvc.demo.errors import DemoError
from pvc.demo.model import create, isolated, load, save
from pvc.demo.vocabulary import prompt

if TYPE_CHECKING:
    from pathlib import Path


def test_a_saved_model_is_a_complete_checkpoint_in_bfloat16(start: Path) -> None:
    names = {path.name for path in start.iterdir()}
    assert names >= {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    with safe_open(start / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert {tensor.dtype for tensor in tensors.values()} == {torch.bfloat16}
    assert {"model.embed_tokens.weight", "lm_head.weight"} <= tensors.keys()
    assert {name.split(".")[2] for name in tensors if ".layers." in name} == {"0", "1", "2", "3"}
    assert 5e5 < sum(tensor.numel() for tensor in tensors.values()) < 2e6


def test_transformers_loads_and_runs_it(start: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(start)
    ids = torch.tensor([prompt("please paint the table in the kitchen")])
    assert model.generate(ids, attention_mask=torch.ones_like(ids)).shape[1] > ids.shape[1]


def test_what_was_saved_is_loaded_in_float32_and_saved_alike(start: Path, tmp_path: Path) -> None:
    model = load(start)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    save(model, tmp_path)
    for path in start.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_seed_decides_the_first_weights() -> None:
    def first(seed: int) -> torch.Tensor:
        with isolated(seed):
            weight = create().lm_head.weight
        assert isinstance(weight, torch.Tensor)
        return weight

    assert torch.equal(first(3), first(3))
    assert not torch.equal(first(3), first(4))


def test_isolation_gives_everything_back_even_after_an_error() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    state = torch.random.get_rng_state()
    seen = []

    def interrupted() -> None:
        with isolated(5):
            seen.append(torch.get_num_threads())
            torch.rand(7)
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert seen == [1]
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.random.get_rng_state(), state)
    finally:
        torch.set_num_threads(threads)


def test_loading_and_saving_are_silent(
    start: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    save(load(start), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (None, "no config.json"),
        ("{", "an unreadable config.json"),
        ("[]", "an unreadable config.json"),
        ('{"architectures": []}', "an unreadable config.json"),
        ('{"architectures": null, "vocab_size": 98}', "an unreadable config.json"),
        (
            '{"architectures": ["LlamaForCausalLM"], "vocab_size": 98}',
            "LlamaForCausalLM with 98 words",
        ),
        (
            '{"architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936}',
            "Qwen3ForCausalLM with 151936 words",
        ),
    ],
)
def test_another_directory_is_refused(tmp_path: Path, config: str | None, found: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(DemoError, match=f"{tmp_path} .* found {found}, expected Qwen3"):
        load(tmp_path)


def test_the_config_names_the_lab_s_own_vocabulary(start: Path) -> None:
    config = json.loads((start / "config.json").read_text())
    assert config["vocab_size"] == load(start).lm_head.weight.shape[0]
