"""Comparison of two sets of tensors: one model or not, judged by names, kinds and shapes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from pvc.weights.tensor_names import role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pvc_store.kinds import Kind

_WIDER = {
    **dict.fromkeys(
        ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), ("BF16", "F16", "F32", "F64")
    ),
    "BF16": ("F32", "F64"),
    "F16": ("F32", "F64"),
    "F32": ("F64",),
}


class TensorForm(Protocol):
    """What is compared of a tensor."""

    @property
    def kind(self) -> Kind:
        """Numeric kind."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Dimensions."""
        ...


@dataclass(frozen=True, slots=True)
class CheckpointDifference:
    """One tensor that differs between two sets; `str` gives a phrase.

    Attributes:
        name: the tensor.
        base: dtype and shape in the base, such as "BF16 [4, 8]"; None if it is not there.
        new: the same in the new set.
    """

    name: str
    base: str | None
    new: str | None

    def __str__(self) -> str:
        if self.base is None:
            return f"{self.name} ({self.new}) is not in the base"
        if self.new is None:
            return f"{self.name} ({self.base}) is only in the base"
        return f"{self.name} is {self.new}, but {self.base} in the base"


def differences(
    base: Mapping[str, TensorForm], new: Mapping[str, TensorForm], *, allow_wider: bool = False
) -> Iterator[CheckpointDifference]:
    """The tensors that are missing, added, of another shape or of another dtype, sorted by name.

    Args:
        base: tensor name -> form.
        new: the set that is compared with it.
        allow_wider: whether a wider float dtype than the base's is none.
    """
    for name in sorted(base.keys() | new.keys()):
        old, now = base.get(name), new.get(name)
        if old is None or now is None or not _fits(old, now, allow_wider=allow_wider):
            yield CheckpointDifference(name, _words(old), _words(now))


def first_differences(
    base: Mapping[str, TensorForm],
    new: Mapping[str, TensorForm],
    limit: int = 3,
    *,
    allow_wider: bool = False,
) -> tuple[CheckpointDifference, ...]:
    """At most `limit` of `differences`; none means that both are of one model."""
    return tuple(islice(differences(base, new, allow_wider=allow_wider), limit))


def is_wider(kind: Kind, than: Kind) -> bool:
    """Whether every number of the float kind `than` is also one of the wider float kind `kind`."""
    return kind.name in _WIDER.get(than.name, ())


def renamed(
    base: Mapping[str, TensorForm], new: Mapping[str, TensorForm]
) -> tuple[str, str] | None:
    """A guess whether both sets are one model whose tensors go by other names.

    So it is if all names that only one set has find their like in the other: the same name from the
    layer's number on, or without number the same last part, and the same shape.  Heads, which tied
    models may leave out, and towers beside the language model need none.

    Returns:
        A name of the base and the same tensor's name in the new set; None if it does not look so.
    """
    only_base, only_new = _by_tail(base, new), _by_tail(new, base)
    if not only_base or _counts(only_base) != _counts(only_new):
        return None
    tail = next(iter(only_base))
    return only_base[tail][0], only_new[tail][0]


def _fits(base: TensorForm, new: TensorForm, *, allow_wider: bool) -> bool:
    same = base.kind == new.kind or (allow_wider and is_wider(new.kind, base.kind))
    return same and base.shape == new.shape


def _words(form: TensorForm | None) -> str | None:
    return None if form is None else f"{form.kind.name} {list(form.shape)}"


_Tail = tuple[str, tuple[int, ...]]


def _by_tail(
    mine: Mapping[str, TensorForm], other: Mapping[str, TensorForm]
) -> dict[_Tail, list[str]]:
    """The names that only `mine` has, by what renaming leaves of them."""
    found: defaultdict[_Tail, list[str]] = defaultdict(list)
    for name in sorted(mine.keys() - other.keys()):
        if role(name) not in {"head", "other"}:
            found[_tail(name), mine[name].shape].append(name)
    return found


def _tail(name: str) -> str:
    parts = name.split(".")
    numbers = [at for at, part in enumerate(parts) if part.isdecimal()]
    if numbers:
        return ".".join(parts[numbers[0] :])
    return ".".join(parts[-2:] if parts[-1] in {"weight", "bias"} else parts[-1:])


def _counts(names: Mapping[_Tail, list[str]]) -> Counter[_Tail]:
    return Counter({tail: len(group) for tail, group in names.items()})
