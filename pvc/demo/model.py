"""The lab's model: a Qwen3 of 0.6 million parameters, saved in bfloat16 as any checkpoint is.

Four layers of width 128 with grouped-query attention, an input embedding and an output head of its
own, so that every role of a larger model is there.  The weights start wider than usual
(`INITIAL_SPREAD`): from transformers' default the sums are not learned within hundreds of steps.

Limits: the CPU only.  Everything runs on one thread, because tensors this small do not repay the
cost of a second one, and so that results do not depend on the number of cores.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pvc.demo.errors import DemoError
from pvc.demo.vocabulary import END, PAD, START, WORDS, token_ids, tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARCHITECTURE = "Qwen3ForCausalLM"
CONTEXT = 64
LONGEST_REPLY = 32
INITIAL_SPREAD = 0.06


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run torch on one thread and from a seed, then give the caller's threads and state back."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def create() -> Any:
    """A model with random weights, float32; to be called inside `isolated`."""
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

    ids = token_ids()
    special = {"pad_token_id": ids[PAD], "bos_token_id": ids[START], "eos_token_id": ids[END]}
    config = Qwen3Config(
        vocab_size=len(WORDS),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        initializer_range=INITIAL_SPREAD,
        tie_word_embeddings=False,
        **special,
    )
    model = Qwen3ForCausalLM(config)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_k=0, max_new_tokens=LONGEST_REPLY, **special
    )
    return model


def save(model: Any, directory: Path) -> None:
    """Round a model once to bfloat16 and write it with its tokenizer; the model changes too."""
    import torch

    with _quiet():
        model.to(torch.bfloat16).save_pretrained(directory)
        tokenizer().save_pretrained(directory)


def load(directory: Path) -> Any:
    """Read a model of the lab as float32, ready to reply.

    Raises:
        DemoError: the directory holds no checkpoint, or one of another model.
    """
    _check(directory)
    from transformers import Qwen3ForCausalLM

    with _quiet():
        model = Qwen3ForCausalLM.from_pretrained(directory, local_files_only=True)
    return model.float().eval()


def _check(directory: Path) -> None:
    try:
        config = json.loads((directory / "config.json").read_bytes())
        found = _describe(config["architectures"][0], config["vocab_size"])
    except FileNotFoundError:
        raise _no_lab_model(directory, "no config.json") from None
    except (ValueError, LookupError, TypeError):
        raise _no_lab_model(directory, "an unreadable config.json") from None
    if found != _describe(ARCHITECTURE, len(WORDS)):
        raise _no_lab_model(directory, found)


def _no_lab_model(directory: Path, found: str) -> DemoError:
    expected = _describe(ARCHITECTURE, len(WORDS))
    return DemoError(
        f"{directory} does not hold a model of the lab: found {found}, expected {expected}."
    )


def _describe(architecture: str, words: int) -> str:
    return f"{architecture} with {words} words"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing progress bars and logging warnings."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
