"""Why a result has other tensors than its base: known causes, told by names and forms.

empty       weights of shape [0]: DeepSpeed ZeRO-3 did not gather them
adapter     tensors of a LoRA adapter
nested      files in subfolders that the base has and the result has not
dtype       another numeric kind, and not a wider one
vocabulary  embedding or head have another number of rows
head        an output head on one side only, and not the same numbers as the embedding
buffer      rotary_emb.inv_freq, which old versions of transformers saved
experts     experts in one tensor on one side, and one by one on the other
wrapper     names of a wrapper, and other differences besides
subset      tensors are missing, and nothing else is different
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.weights.apart import is_apart
from pvc.weights.compare import is_wider
from pvc.weights.fitting import without_wrappers
from pvc.weights.tensor_names import role
from pvc.weights.whole import is_adapters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pvc.weights.compare import TensorForm

    Forms = Mapping[str, TensorForm]

_BUFFERS = (".inv_freq", ".masked_bias", ".attn.bias", ".position_ids")


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Why a result does not fit its base.

    Attributes:
        cause: one word, see this module's list.
        phrase: the same for people, to be read after the differences.
        facts: what a remedy needs: texts for "vocabulary" (rows of the base), "dtype" (of the
            base) and "nested" (the folder).
    """

    cause: str
    phrase: str
    facts: tuple[str, ...] = ()


def mismatch(base: Forms, new: Forms) -> Mismatch | None:
    """The cause of the differences, None if it is none of those known."""
    return next(filter(None, (find(base, new) for find in _CAUSES)), None)


def _empty(base: Forms, new: Forms) -> Mismatch | None:
    found = any(
        form.shape == (0,) and name in base and base[name].shape != (0,)
        for name, form in new.items()
    )
    return Mismatch("empty", "weights are empty, not gathered by ZeRO-3") if found else None


def _adapter(base: Forms, new: Forms) -> Mismatch | None:
    found = any(is_adapters(name) or ".base_layer." in name for name in new.keys() - base.keys())
    return Mismatch("adapter", "it holds an adapter that is not merged") if found else None


def _nested(base: Forms, new: Forms) -> Mismatch | None:
    found = sorted(name for name in base.keys() - new.keys() if is_apart(name))
    if not found:
        return None
    path = found[0].partition(".safetensors/")[0] + ".safetensors"
    return Mismatch("nested", f"the base's {path} is missing", (path.rpartition("/")[0],))


def _dtype(base: Forms, new: Forms) -> Mismatch | None:
    for name in sorted(base.keys() & new.keys()):
        before, now = base[name], new[name]
        other = before.kind != now.kind and not is_wider(now.kind, before.kind)
        if other and before.shape == now.shape and before.kind.name.startswith(("F", "BF")):
            phrase = f"it was saved as {now.kind.name}, and the base is {before.kind.name}"
            return Mismatch("dtype", phrase, (before.kind.name,))
    return None


def _vocabulary(base: Forms, new: Forms) -> Mismatch | None:
    for name in sorted(base.keys() & new.keys()):
        before, now = base[name].shape, new[name].shape
        rows = before[:1] != now[:1] and before[1:] == now[1:] and len(before) == 2
        if rows and role(name) in {"embed", "head"}:
            phrase = f"the vocabulary was resized, from {before[0]} tokens to {now[0]}"
            return Mismatch("vocabulary", phrase, (str(before[0]),))
    return None


def _experts(base: Forms, new: Forms) -> Mismatch | None:
    different = [name for name in base.keys() ^ new.keys() if role(name) == "experts"]
    if not different:
        return None
    return Mismatch("experts", "experts are fused into one tensor on one side only")


def _head(base: Forms, new: Forms) -> Mismatch | None:
    different = base.keys() ^ new.keys()
    if not different or any(role(name) != "head" for name in different):
        return None
    if different & new.keys():
        return Mismatch("head", "its output head is not the embedding any more: it was untied")
    return Mismatch("head", "it has no output head, and that of the base is not its embedding")


def _buffer(base: Forms, new: Forms) -> Mismatch | None:
    different = base.keys() ^ new.keys()
    if not different or not all(name.endswith(_BUFFERS) for name in different):
        return None
    return Mismatch("buffer", "buffers were saved that are computed, not trained")


def _wrapper(base: Forms, new: Forms) -> Mismatch | None:
    found = any(without_wrappers(name) != name for name in new.keys() - base.keys())
    return Mismatch("wrapper", "it was saved inside a wrapper") if found else None


def _subset(base: Forms, new: Forms) -> Mismatch | None:
    missing = len(base.keys() - new.keys())
    if not missing or new.keys() - base.keys() or not base.keys() & new.keys():
        return None
    return Mismatch("subset", f"{missing} of the base's {len(base)} tensors are missing")


_CAUSES: tuple[Callable[[Forms, Forms], Mismatch | None], ...] = (
    _empty, _adapter, _nested, _dtype, _vocabulary, _experts, _head, _buffer, _wrapper, _subset,
)  # fmt: skip
