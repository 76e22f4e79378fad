"""Lists, numbers and sizes in messages."""

from __future__ import annotations

import pytest

from pvc.wording import agreeing, counted, number, shown, size


@pytest.mark.parametrize(
    ("names", "most", "text"),
    [
        ([], 3, ""),
        (["a"], 3, "a"),
        (["a", "b"], 3, "a and b"),
        (["a", "b", "c"], 3, "a, b and c"),
        (["a", "b", "c", "d", "e"], 3, "a, b, c and 2 more"),
        (["a", "b"], 1, "a and 1 more"),
        (["a"] * 5000, 1, "a and 4 999 more"),
    ],
)
def test_lists(names: list[str], most: int, text: str) -> None:
    assert shown(names, most) == text


def test_numbers_agree() -> None:
    found = [
        f"{counted(count, 'tensor')} {agreeing(count, 'differs', 'differ')}"
        for count in (0, 1, 3, 12_000)
    ]
    assert found == [
        "0 tensors differ",
        "1 tensor differs",
        "3 tensors differ",
        "12 000 tensors differ",
    ]


def test_sizes() -> None:
    sizes = [size(count) for count in (0, 999, 1000, 952_700, 1_234_567, 2 * 10**9, 3 * 10**12)]
    assert sizes == ["0 B", "999 B", "1 kB", "953 kB", "1.23 MB", "2 GB", "3 TB"]
    assert number(1_234_567) == "1 234 567"
