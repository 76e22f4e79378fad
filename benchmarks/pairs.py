"""Checkpoints to measure with: a small model that was really trained, and three fine-tunes of it.

What a delta costs depends on how an optimiser moves weights, so nothing here is drawn at random.
The base, a Qwen3 of 21 million parameters, learns the standard library's source code; the
fine-tunes learn the prose of Python's reference manual:

    dense   float32 weights, learning rate 1e-5, 100 steps, rounded to bfloat16 at the end
    bf16    bfloat16 weights, learning rate 1e-5, 100 steps
    wq      as bf16, but only the query projections learn, 50 steps

Enlarged checkpoints hold every tensor several times, each time with its elements in another order.
The orders are the same for all four, so that fine-tunes differ from the base as they did, and no
block occurs twice in a file.

    python -m benchmarks.pairs                      about five minutes on two cores, 0.17 GB
    python -m benchmarks.pairs --copies 12          and 0.5 GB for each of the four

Limits: the tensors are small, 0.25 to 4 MiB, so more blocks are short ones than in large models;
and a fine-tune of hundreds of steps on little text is more coherent than most real ones.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sysconfig
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    Tensors: TypeAlias = dict[str, torch.Tensor]

DATA = Path("bench-data")
BASE = "base"
VOCABULARY = 4096
CONTEXT = 128
BATCH = 2
BASE_STEPS = 250
COPIES_PER_SHARD = 12


@dataclass(frozen=True, slots=True)
class Regime:
    """How a fine-tune is trained.

    Attributes:
        weights: dtype of the weights that the optimiser moves.
        steps: optimiser steps at learning rate 1e-5.
        trained: which tensors learn; a part of their names.
    """

    weights: str
    steps: int
    trained: str = ""


REGIMES = {
    "dense": Regime("float32", 100),
    "bf16": Regime("bfloat16", 100),
    "wq": Regime("bfloat16", 50, "q_proj"),
}
NAMES = (BASE, *REGIMES)


def trained(data: Path) -> None:
    """Train what is not there yet: a safetensors file for the base and for each regime."""
    import torch

    missing = [name for name in NAMES if not _small(data, name).exists()]
    if not missing:
        return
    data.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    code, prose = _corpora()
    if BASE in missing:
        model = _model()
        _train(model, code, Regime("float32", BASE_STEPS), 1e-3, warmup=20)
        _save(model, _small(data, BASE))
    for name in REGIMES.keys() & set(missing):
        model = _model(_small(data, BASE))
        _train(model, prose, REGIMES[name], 1e-5)
        _save(model, _small(data, name))


def enlarged(data: Path, copies: int) -> dict[str, Path]:
    """Checkpoints with `copies` of every tensor, written if they are not there yet.

    Returns:
        The directory of each name in NAMES; `copies` * 42 MB in shards of about 0.5 GB.
    """
    trained(data)
    found = {name: data / f"{copies}x" / name for name in NAMES}
    if not all((directory / "config.json").exists() for directory in found.values()):
        _enlarge(data, found, copies)
    return found


def _small(data: Path, name: str) -> Path:
    return data / f"{name}.safetensors"


def _model(weights: Path | None = None) -> Any:
    from safetensors.torch import load_file
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = Qwen3ForCausalLM(Qwen3Config(**_shape()))
    if weights is not None:
        found = {key: tensor.float() for key, tensor in load_file(weights).items()}
        model.load_state_dict(found, strict=False)  # the head is the embedding
    return model


def _shape() -> dict[str, Any]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
    }


def _corpora() -> tuple[torch.Tensor, torch.Tensor]:
    """Source code and prose as numbers of words; all but the most frequent words are number 0."""
    import torch

    library = Path(sysconfig.get_path("stdlib"))
    prose = (library / "pydoc_data" / "topics.py").read_text(encoding="utf-8")
    code = "".join(file.read_text(encoding="utf-8") for file in sorted(library.glob("*.py")))
    texts = [re.findall(r"\w+|\s+|.", text) for text in (code, prose)]
    counts = Counter(itertools.chain.from_iterable(texts))
    numbers = {word: at for at, (word, _) in enumerate(counts.most_common(VOCABULARY - 1), 1)}
    code_words, prose_words = (torch.tensor([numbers.get(w, 0) for w in text]) for text in texts)
    return code_words, prose_words


def _train(model: Any, text: torch.Tensor, regime: Regime, rate: float, warmup: int = 1) -> None:
    """AdamW with clipped gradients, on passages drawn from the text.

    The model computes in float32, because many processors are slow with bfloat16.  What it computes
    with are the weights that the optimiser moves, in the regime's dtype.
    """
    import torch

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(regime.trained in name)
    computing = [p for p in model.parameters() if p.requires_grad]
    moved = [p.detach().to(getattr(torch, regime.weights), copy=True) for p in computing]
    optimiser = torch.optim.AdamW(moved, lr=rate, betas=(0.9, 0.95))
    began = time.monotonic()
    loss = torch.tensor(0.0)
    for step in range(1, regime.steps + 1):
        optimiser.param_groups[0]["lr"] = rate * min(1, step / warmup)
        starts = torch.randint(0, len(text) - CONTEXT, (BATCH,))
        passages = torch.stack([text[start : start + CONTEXT] for start in starts.tolist()])
        loss = model(input_ids=passages, labels=passages).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(computing, 1.0)
        for weights, parameter in zip(moved, computing, strict=True):
            weights.grad, parameter.grad = parameter.grad.to(weights.dtype), None
        optimiser.step()
        with torch.no_grad():
            for weights, parameter in zip(moved, computing, strict=True):
                parameter.copy_(weights)
    seconds = time.monotonic() - began
    print(f"{regime.steps} steps in {seconds:.0f} s, last loss {loss.item():.2f}", flush=True)


def _save(model: Any, path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {
        key: tensor.detach().to(torch.bfloat16).contiguous()
        for key, tensor in model.state_dict().items()
        if key != "lm_head.weight"  # tied to the embedding
    }
    partial = path.with_suffix(".part")
    save_file(tensors, partial, metadata={"format": "pt"})
    partial.replace(path)


def _enlarge(data: Path, directories: dict[str, Path], copies: int) -> None:
    from safetensors.torch import load_file, save_file

    sources = {name: load_file(_small(data, name)) for name in directories}
    for directory in directories.values():
        directory.mkdir(parents=True, exist_ok=True)
    shards = list(_batches(range(copies), COPIES_PER_SHARD))
    index: dict[str, str] = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        orders = _orders(sources[BASE], shard)
        for name, directory in directories.items():
            tensors = dict(_reordered(sources[name], orders))
            save_file(tensors, directory / file, metadata={"format": "pt"})
            index.update(dict.fromkeys(tensors, file))
    for directory in directories.values():
        weights = {"metadata": {}, "weight_map": index}
        (directory / "model.safetensors.index.json").write_text(json.dumps(weights))
        config = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", **_shape()}
        (directory / "config.json").write_text(json.dumps(config, indent=2))


def _batches(numbers: range, most: int) -> Iterator[range]:
    return (numbers[start : start + most] for start in range(0, len(numbers), most))


def _orders(tensors: Tensors, copies: Sequence[int]) -> dict[int, dict[int, torch.Tensor]]:
    """For each copy, an order of the elements for every size of tensor."""
    import torch

    sizes = sorted({tensor.numel() for tensor in tensors.values()})
    orders = {}
    for copy in copies:
        source = torch.Generator().manual_seed(copy)
        orders[copy] = {size: torch.randperm(size, generator=source) for size in sizes}
    return orders


def _reordered(
    tensors: Tensors, orders: dict[int, dict[int, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor]]:
    for copy, by_size in orders.items():
        for key, tensor in tensors.items():
            order = by_size[tensor.numel()]
            yield f"copies.{copy}.{key}", tensor.flatten()[order].reshape(tensor.shape)


def main() -> None:
    """Train, and enlarge if asked to."""
    parser = argparse.ArgumentParser(description="Checkpoints to measure with.")
    parser.add_argument("--data", type=Path, default=DATA, help=f"where they lie ({DATA})")
    parser.add_argument("--copies", type=int, default=0, help="how often to repeat each tensor")
    options = parser.parse_args()
    trained(options.data)
    if options.copies:
        enlarged(options.data, options.copies)


if __name__ == "__main__":
    main()
