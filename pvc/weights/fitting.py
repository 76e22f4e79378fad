"""A result in the form of its base, if only names keep it from that.

What is mended: prefixes that wrappers put before names (torch.compile, DistributedDataParallel,
FSDP, PEFT); an output head that was saved beside the embedding it equals, or left away where the
base has it twice.  Safetensors files in subfolders of which the base knows nothing travel as files.
All of it is said in the checkpoint's notes.  No name changes unless the result then has exactly the
base's tensors.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pvc.weights.compare import first_differences
from pvc.weights.reader import CheckpointReader
from pvc.weights.refit import refit
from pvc.weights.tensor_names import role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.weights.checkpoint import Checkpoint
    from pvc.weights.header import TensorPlace
    from pvc_store.tree import Tensor

WRAPPERS = re.compile(
    r"^base_model\.model\.(?=model\.|lm_head\.|transformer\.)|^module\."
    r"|(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\."
)
_STEP = 1 << 20


def fitted(checkpoint: Checkpoint, base: Mapping[str, Tensor]) -> Checkpoint:
    """The checkpoint in the form of the base if that is possible, otherwise as it is.

    Args:
        checkpoint: a result.
        base: the base's tensors.

    Raises:
        ChangedError, UnreadableError: an output head has to be compared, and cannot be read.
    """
    checkpoint = _without_unknown_files(checkpoint, base)
    if not first_differences(base, checkpoint.tensors, 1, allow_wider=True):
        return checkpoint
    names, notes = _unwrapped(checkpoint)
    if names is None:
        return checkpoint
    _tie(names, notes, checkpoint, base)
    if not notes:
        return checkpoint
    forms = {new: checkpoint.tensors[old] for new, old in names.items()}
    if first_differences(base, forms, 1, allow_wider=True):
        return checkpoint
    return replace(refit(checkpoint, names), notes=(*checkpoint.notes, *notes))


def without_wrappers(name: str) -> str:
    """A tensor's name without what wrappers put into it."""
    before = ""
    while before != name:
        before, name = name, WRAPPERS.sub("", name)
    return name


def _without_unknown_files(checkpoint: Checkpoint, base: Mapping[str, Tensor]) -> Checkpoint:
    """Safetensors files that stand apart, and none of whose tensors the base has, become files."""
    unknown = [
        shard for shard in checkpoint.shards if shard.apart and base.keys().isdisjoint(shard.names)
    ]
    if not unknown:
        return checkpoint
    paths = {shard.path for shard in unknown}
    return replace(
        checkpoint,
        tensors={n: place for n, place in checkpoint.tensors.items() if place.file not in paths},
        shards=tuple(shard for shard in checkpoint.shards if shard.path not in paths),
        files=tuple(sorted([*checkpoint.files, *paths])),
        notes=(
            *checkpoint.notes,
            *(f"{path} is not in the base: it is kept as a file" for path in sorted(paths)),
        ),
    )


def _unwrapped(checkpoint: Checkpoint) -> tuple[dict[str, str] | None, list[str]]:
    """New name -> name in the checkpoint; None if two would be one.  And what to say of it."""
    own = checkpoint.own_tensors
    names = {without_wrappers(name) if name in own else name: name for name in checkpoint.tensors}
    if len(names) != len(checkpoint.tensors):
        return None, []
    changed = [(new, old) for new, old in names.items() if new != old]
    if not changed:
        return names, []
    new, old = changed[0]
    count = f"{len(changed)} tensors have" if len(changed) > 1 else "a tensor has"
    return names, [f"{count} names of a wrapper, which are left away: {old} is {new}"]


def _tie(
    names: dict[str, str], notes: list[str], checkpoint: Checkpoint, base: Mapping[str, Tensor]
) -> None:
    """Leave away a head that is the embedding, or take the embedding for a head of the base."""
    embedding = next((name for name in base if _is_weight(name, "embed") and name in names), None)
    if embedding is None:
        return
    for head in [name for name in names if name not in base and _is_weight(name, "head")]:
        one, two = checkpoint.tensors[names[head]], checkpoint.tensors[names[embedding]]
        if _equal(checkpoint, one, two):
            del names[head]
            notes.append(f"{head} equals {embedding}, and the base has only this: it is left away")
    for head in [name for name in base if name not in names and _is_weight(name, "head")]:
        if (base[head].digest, base[head].shape) == (base[embedding].digest, base[embedding].shape):
            names[head] = names[embedding]
            notes.append(f"{head} is missing, and equals {embedding} in the base: so it does here")


def _is_weight(name: str, of: str) -> bool:
    return name.endswith(".weight") and "/" not in name and role(name) == of


def _equal(checkpoint: Checkpoint, one: TensorPlace, two: TensorPlace) -> bool:
    if (one.kind, one.shape) != (two.kind, two.shape):
        return False
    with CheckpointReader(checkpoint) as reader:
        for start in range(0, one.nbytes, _STEP):
            size = min(_STEP, one.nbytes - start)
            left, right = np.empty(size, np.uint8), np.empty(size, np.uint8)
            reader.read_into(one, start, left)
            reader.read_into(two, start, right)
            if not np.array_equal(left, right):
                return False
    return True
