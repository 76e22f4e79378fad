"""Groups of tensors in a report: by role, layer or tensor."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pvc.weights.tensor_names import layer, role

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")

GROUPS = ("role", "layer", "tensor")


def grouped(by_name: Mapping[str, T], group: str) -> list[tuple[str, list[T]]]:
    """The members of each group.

    Args:
        by_name: something for each tensor.
        group: one of GROUPS.

    Returns:
        Label and members; roles and tensors by name, layers by number, what is in no layer last.
    """
    groups: dict[tuple[bool, int, str], list[T]] = {}
    for name, member in by_name.items():
        groups.setdefault(_key(name, group), []).append(member)
    return [(key[2], members) for key, members in sorted(groups.items())]


def _key(name: str, group: str) -> tuple[bool, int, str]:
    if group == "tensor":
        return False, 0, name
    if group == "role":
        return False, 0, role(name)
    number = layer(name)
    return (True, 0, "other") if number is None else (False, number, str(number))
