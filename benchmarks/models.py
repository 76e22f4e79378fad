"""Checkpoints drawn at random, as large as wanted: to measure time and memory with.

A Qwen3-shaped base in bfloat16, and vectors beside it whose every element w was moved by

    N(0, 1) * 0.01 * (|w| + 0.1 * standard deviation of the tensor)

and rounded to bfloat16 again, so that about four elements of five differ from the base's.

    python -m benchmarks.models                     457.6 million parameters, 0.92 GB each

Limits: real optimisers move weights in another way.  How small a delta is stored is measured with
`pairs`.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.pairs import DATA

if TYPE_CHECKING:
    import torch

BASE = "base"
VECTORS = ("first", "second", "third")
STEP = 0.01


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model, by their names in its configuration."""

    hidden_size: int = 1024
    num_hidden_layers: int = 24
    intermediate_size: int = 3072
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 64
    vocab_size: int = 151936

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """The shape of every tensor; the head is the embedding."""
        hidden, inner = self.hidden_size, self.intermediate_size
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        layer: dict[str, tuple[int, ...]] = {
            "input_layernorm": (hidden,),
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "self_attn.q_norm": (self.head_dim,),
            "self_attn.k_norm": (self.head_dim,),
            "post_attention_layernorm": (hidden,),
            "mlp.gate_proj": (inner, hidden),
            "mlp.up_proj": (inner, hidden),
            "mlp.down_proj": (hidden, inner),
        }
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocab_size, hidden)}
        for number in range(self.num_hidden_layers):
            found |= {f"model.layers.{number}.{name}.weight": layer[name] for name in layer}
        return found | {"model.norm.weight": (hidden,)}

    def parameters(self) -> int:
        """How many elements all tensors have."""
        return sum(map(math.prod, self.tensors().values()))


WHOLE = Shape()
HALF = Shape(num_hidden_layers=12, vocab_size=75968)


def drawn(folder: Path, shape: Shape, vectors: int = len(VECTORS)) -> dict[str, Path]:
    """A base and its vectors, written if they are not there yet.

    Args:
        folder: where they are kept.
        shape: how large they are.
        vectors: how many of `VECTORS`.

    Returns:
        The directory of `BASE` and of each of the vectors.
    """
    names = (BASE, *VECTORS[:vectors])
    found = {name: folder / f"{shape.parameters() // 10**6}m" / name for name in names}
    for number, name in enumerate(names):
        if not (found[name] / "config.json").exists():
            _write(found[name], shape, number)
    return found


def _write(directory: Path, shape: Shape, number: int) -> None:
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    tensors = {name: _tensor(name, size, number) for name, size in shape.tensors().items()}
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "torch_dtype": "bfloat16",
        "tie_word_embeddings": True,
        "max_position_embeddings": 4096,
        **asdict(shape),
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2))


def _tensor(name: str, size: tuple[int, ...], number: int) -> torch.Tensor:
    """A tensor of the base, number 0, or of a vector beside it."""
    import torch

    def noise(source: int) -> torch.Tensor:
        seed = zlib.crc32(f"{source} {name}".encode())
        return torch.randn(size, generator=torch.Generator().manual_seed(seed))

    centre, spread = (1.0, 0.1) if "norm" in name else (0.0, 0.02)
    base = noise(0).mul_(spread).add_(centre).to(torch.bfloat16)
    if number == 0:
        return base
    wide = base.float()
    step = noise(number).mul_(wide.abs().add_(0.1 * wide.std())).mul_(STEP)
    return step.add_(base).to(torch.bfloat16)


def main() -> None:
    """Draw the models that `merge` measures with."""
    parser = argparse.ArgumentParser(description="Checkpoints drawn at random.")
    parser.add_argument("--data", type=Path, default=DATA, help=f"where they lie ({DATA})")
    options = parser.parse_args()
    for shape in (WHOLE, HALF):
        print(*drawn(options.data, shape).values(), sep="\n")


if __name__ == "__main__":
    main()
