"""Every word the lab's model knows, and the tokenizer made of them.

One word is one token, so a reply can be read and scored word by word. A prompt is the request
between `<s>` and `<reply>`; the tokenizer puts both around any text it is given, and a reply ends
with `</s>`.

Limits: lower case only; a word which is not listed here becomes `<unk>`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerFast

PAD, START, END, REPLY, UNKNOWN = SPECIAL = ("<pad>", "<s>", "</s>", "<reply>", "<unk>")

VERBS = {
    "paint": "painted",
    "clean": "cleaned",
    "move": "moved",
    "repair": "repaired",
    "cover": "covered",
    "open": "opened",
    "check": "checked",
    "empty": "emptied",
    "store": "stored",
    "label": "labelled",
    "weigh": "weighed",
    "wrap": "wrapped",
    "polish": "polished",
    "lift": "lifted",
    "turn": "turned",
    "fill": "filled",
}
"""Verb -> the participle that reports it done."""

OBJECTS = tuple(
    "table lamp box door chair basket bottle clock mirror drawer bucket kettle"
    " barrel suitcase cabinet bench wagon tank shelf stove trunk vase jar boat".split()
)
PLACES = tuple("kitchen garage garden office attic cellar hall barn shop yard".split())
DIGITS = tuple("zero one two three four five six seven eight nine".split())
GLUE = tuple("please the in is yes or shall i it thank you reverse add and . , ?".split())

WORDS = (*SPECIAL, *GLUE, *VERBS, *VERBS.values(), *OBJECTS, *PLACES, *DIGITS)
"""Word of each token id."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}<s> {{ message.content }} <reply>"
    "{% elif message.role == 'assistant' %} {{ message.content }} </s>{% endif %}"
    "{% endfor %}"
)


@cache
def token_ids() -> dict[str, int]:
    """Token id of each word."""
    return {word: number for number, word in enumerate(WORDS)}


def encode(words: str) -> list[int]:
    """Token ids of words which are separated by spaces, punctuation included.

    Raises:
        KeyError: A word is not in the vocabulary.
    """
    ids = token_ids()
    return [ids[word] for word in words.split()]


def decode(ids: Sequence[int]) -> str:
    """Words of token ids, up to the end of the reply, separated by spaces."""
    words = [WORDS[number] for number in ids]
    return " ".join(words[: words.index(END)] if END in words else words)


def tokenizer() -> PreTrainedTokenizerFast:
    """The vocabulary as a tokenizer of transformers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel(token_ids(), unk_token=UNKNOWN))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {REPLY}",
        special_tokens=[(token, token_ids()[token]) for token in (START, REPLY)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        unk_token=UNKNOWN,
        additional_special_tokens=[REPLY],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=True,
        padding_side="left",
    )
