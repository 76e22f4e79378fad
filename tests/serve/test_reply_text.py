"""Text of tokens that come one by one: any bytes, any stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pvc.serve.model.reply_text import ReplyText

if TYPE_CHECKING:
    from collections.abc import Sequence


def of_bytes(ids: Sequence[int]) -> str:
    """A tokenizer with one token for every byte."""
    return bytes(ids).decode(errors="replace")


def of_words(ids: Sequence[int]) -> str:
    """One that puts spaces between words, as those of whole words and pieces of them do."""
    return " ".join("abcdefgh"[one % 8] for one in ids)


texts = st.text(st.sampled_from("ab \né€😀\u200d"), max_size=30)


@given(texts, texts)
def test_parts_of_characters_are_held_back(prompt: str, text: str) -> None:
    found = ReplyText(of_bytes, prompt.encode())
    parts = []
    for token in text.encode():
        found.add(token)
        parts.append(found.take())
    found.end()
    parts.append(found.take(last=True))
    assert "".join(parts) == found.text == text
    assert not any("\ufffd" in part for part in parts)


@given(st.lists(st.integers(0, 7), min_size=1, max_size=8), st.lists(st.integers(0, 7)))
def test_a_token_looks_as_it_does_behind_those_before(prompt: list[int], ids: list[int]) -> None:
    found = ReplyText(of_words, prompt)
    for token in ids:
        found.add(token)
    found.end()
    assert of_words(prompt) + found.text == of_words([*prompt, *ids])


@given(texts, st.lists(st.text(st.sampled_from("ab é"), min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_first_stop(text: str, stops: list[str]) -> None:
    found = ReplyText(of_bytes, (), stops)
    taken = ""
    for token in text.encode():
        found.add(token)
        taken += found.take()
        if found.stopped:
            break
        assert not any(one in taken for one in stops)
    found.end()
    taken += found.take(last=True)
    first = [
        text[:end] for end in range(len(text) + 1) if any(text[:end].endswith(s) for s in stops)
    ]
    if not first:
        assert (found.stopped, taken) == (False, text)
        return
    ends = [first[0][: -len(one)] for one in stops if first[0].endswith(one)]
    assert found.stopped
    assert taken == min(ends, key=len)


def test_nonsense_is_shown_in_the_end() -> None:
    found = ReplyText(of_bytes)
    for token in b"ok\xf0\x9f":
        found.add(token)
    assert found.take() == "ok"
    found.end()
    assert found.take(last=True) == "\ufffd"
