"""Three-way merge of terms."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pvc.repo.commands.three_way import keyed, merge
from pvc.repo.personality.personality_file import Term

mappings = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), max_size=6)


@given(old=mappings, ours=mappings)
def test_one_side_alone_wins(old: dict[str, int], ours: dict[str, int]) -> None:
    for merged in (merge(old, ours, old), merge(old, old, ours), merge(old, ours, ours)):
        assert merged.values == ours
        assert merged.conflicts == {}
    assert list(merge(old, ours, old).values) == list(ours)


@given(old=mappings, ours=mappings, theirs=mappings)
def test_each_key_by_itself(
    old: dict[str, int], ours: dict[str, int], theirs: dict[str, int]
) -> None:
    merged = merge(old, ours, theirs)
    for key in {*old, *ours, *theirs}:
        before, our, their = old.get(key), ours.get(key), theirs.get(key)
        if our == their or their == before:
            assert merged.values.get(key) == our
        elif our == before:
            assert merged.values.get(key) == their
        else:
            assert merged.conflicts[key] == (before, our, their)
            assert key not in merged.values
    assert merged.conflicts.keys().isdisjoint(merged.values)
    swapped = merge(old, theirs, ours)
    assert swapped.values == merged.values
    assert swapped.conflicts.keys() == merged.conflicts.keys()


def test_what_theirs_adds_follows_what_it_followed() -> None:
    merged = merge({"a": 1, "b": 1}, {"a": 1, "x": 1, "b": 1}, {"a": 1, "y": 1, "b": 1, "z": 1})
    assert list(merged.values) == ["a", "y", "x", "b", "z"]


def test_a_vector_that_occurs_twice() -> None:
    terms = (Term("a"), Term("b"), Term("a", 0.5))
    assert keyed(terms) == {"a": terms[0], "b": terms[1], "a (2)": terms[2]}
