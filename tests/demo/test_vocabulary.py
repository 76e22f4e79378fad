from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from transformers import AutoTokenizer

from pvc.demo.errors import DemoError
from pvc.demo.vocabulary import END, WORDS, decode, encode, prompt, sentences

if TYPE_CHECKING:
    from pathlib import Path

REQUEST = "please paint the table in the kitchen"


def test_no_word_is_listed_twice() -> None:
    assert len(set(WORDS)) == len(WORDS)


def test_words_come_back_from_their_ids() -> None:
    words = "yes , paint the table . or shall i clean it ?"
    assert decode(encode(words)) == words


def test_what_follows_the_end_of_a_reply_is_not_read() -> None:
    end = WORDS.index(END)
    assert decode([*encode("thank you"), end, *encode("thank you"), end]) == "thank you"


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(DemoError, match="The word 'piano' is not among the"):
        encode("please paint the piano")


def test_sentences_are_written_as_by_a_person() -> None:
    words = "yes , paint it . or shall i clean it ?"
    assert sentences(words) == "Yes, paint it. Or shall I clean it?"
    assert not sentences("")


@pytest.mark.parametrize("text", [REQUEST, "Please  PAINT it, thank you.", "add one and two", ""])
def test_the_saved_tokenizer_makes_the_same_prompt(start: Path, text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    assert tokenizer(text)["input_ids"] == prompt(text)


def test_the_saved_tokenizer_reads_a_reply_back(start: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    ids = [*encode("or shall i clean it ?"), tokenizer.eos_token_id]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "or shall i clean it?"


def test_the_saved_tokenizer_knows_unknown_words_as_such(start: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    assert tokenizer.unk_token_id in tokenizer("a piano")["input_ids"]


def test_a_chat_gives_the_same_prompt(start: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(start)
    chat = [{"role": "user", "content": REQUEST}]
    text = tokenizer.apply_chat_template(chat, tokenize=False)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == prompt(REQUEST)
