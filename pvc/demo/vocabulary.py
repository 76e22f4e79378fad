"""Every word the lab's model knows, and the tokenizer made of them.

One word is one token, so a reply can be read and scored word by word.  A prompt is the text between
`<s>` and `<reply>`; the tokenizer puts both around any text it is given.  A reply ends with `</s>`.

Limits: lower case only; the tokenizer turns a word which is not listed here into `<unk>`.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from pvc.demo.errors import DemoError

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

OBJECTS = (
    *("table", "lamp", "box", "door", "chair", "basket", "bottle", "clock"),
    *("mirror", "drawer", "bucket", "kettle", "barrel", "suitcase", "cabinet", "bench"),
    *("wagon", "tank", "shelf", "stove", "trunk", "vase", "jar", "boat"),
)
PLACES = (
    *("kitchen", "garage", "garden", "office", "attic"),
    *("cellar", "hall", "barn", "shop", "yard"),
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GLUE = (
    *("please", "the", "in", "is", "yes", "or", "shall", "i", "it", "thank", "you"),
    *("reverse", "add", "and", ".", ",", "?"),
)

WORDS = (*SPECIAL, *GLUE, *VERBS, *VERBS.values(), *OBJECTS, *PLACES, *DIGITS)
"""The word of each token id."""

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'user' %}<s> {{ message.content }} <reply>"
    "{% elif message.role == 'assistant' %} {{ message.content }} </s>{% endif %}"
    "{% endfor %}"
)
_TOKEN = re.compile(r"\w+|[^\w\s]")


@cache
def token_ids() -> dict[str, int]:
    """Token id of each word."""
    return {word: number for number, word in enumerate(WORDS)}


def encode(text: str) -> list[int]:
    """Token ids of a text, punctuation included, without `<s>` and `<reply>`.

    Raises:
        DemoError: a word is not in the vocabulary.
    """
    ids = token_ids()
    words = _TOKEN.findall(text.lower())
    for word in words:
        if word not in ids:
            raise DemoError(
                f"The word {word!r} is not among the {len(WORDS)} words that the lab's model knows."
            )
    return [ids[word] for word in words]


def prompt(text: str) -> list[int]:
    """Token ids after which the model replies to a text."""
    ids = token_ids()
    return [ids[START], *encode(text), ids[REPLY]]


def decode(ids: Sequence[int]) -> str:
    """Words of a reply, separated by spaces, up to its end."""
    words = [WORDS[number] for number in ids]
    return " ".join(words[: words.index(END)] if END in words else words)


def sentences(words: str) -> str:
    """Words separated by spaces as a person would write them: "yes , i" -> "Yes, I"."""
    text = re.sub(r" ([.,?])", r"\1", words)
    text = re.sub(r"\bi\b", "I", text)
    return re.sub(r"(^|[.?] )(\w)", lambda match: match[1] + match[2].upper(), text)


def tokenizer() -> PreTrainedTokenizerFast:
    """The vocabulary as a tokenizer of transformers."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    ids = token_ids()
    words = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {REPLY}",
        special_tokens=[(token, ids[token]) for token in (START, REPLY)],
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
