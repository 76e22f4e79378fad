"""Lists, numbers and sizes in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SHOWN = 3


def shown(names: Sequence[str], most: int = SHOWN) -> str:
    """The first names of a list: "a", "a and b", "a, b and c", "a, b, c and 2 more"."""
    listed = [*names[:most]]
    if len(names) > most:
        listed.append(f"{number(len(names) - most)} more")
    *firsts, last = listed or [""]
    return f"{', '.join(firsts)} and {last}" if firsts else last


def agreeing(count: int, one: str, several: str) -> str:
    """The word that agrees with a number: `one` with 1, `several` with all others."""
    return one if count == 1 else several


def counted(count: int, noun: str) -> str:
    """A number of things: "1 tensor", "3 tensors", "12 000 tensors"."""
    return f"{number(count)} {agreeing(count, noun, noun + 's')}"


def number(count: int) -> str:
    """A number with its thousands set apart."""
    return f"{count:,}".replace(",", " ")


def size(count: int) -> str:
    """A number of bytes in powers of 1000: "953 kB", "1.23 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
