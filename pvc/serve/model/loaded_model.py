"""A model and its tokenizer, loaded by transformers as the checkpoint holds them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CONTEXT = 4096
"""Tokens that prompt and reply may have together, if the model's configuration does not say."""


_REASONS = (
    OSError,
    ValueError,
    LookupError,
    ImportError,
    RuntimeError,
    AssertionError,  # torch without CUDA is asked for it
    SafetensorError,
)


class UnservableError(PvcError):
    """A model cannot be loaded, or an address cannot be listened at."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can generate.

    Attributes:
        source: the directory or name that it was loaded from.
        model: the model of transformers.
        tokenizer: its tokenizer.
        context: tokens that prompt and reply may have together.
        vocabulary: how many tokens there are.
        ends: ids of the tokens that end a reply.
    """

    source: str
    model: Any
    tokenizer: Any
    context: int
    vocabulary: int
    ends: tuple[int, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)  # the tokenizer's

    @property
    def chats(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(getattr(self.tokenizer, "chat_template", None))

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of a text; `special` adds what the tokenizer puts around any text."""
        with self._lock:
            return list(self.tokenizer.encode(text, add_special_tokens=special))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some tokens, without special ones."""
        return self._decode(ids, skip=True)

    def name(self, token: int) -> str:
        """The text of one token, special or not."""
        return self._decode([token], skip=False)

    def _decode(self, ids: Sequence[int], *, skip: bool) -> str:
        with self._lock:
            text: str = self.tokenizer.decode(
                list(ids), skip_special_tokens=skip, clean_up_tokenization_spaces=False
            )
        return text

    def chat(self, messages: list[dict[str, Any]]) -> str:
        """The prompt that the chat template makes of messages."""
        text: str = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        return text


def load(source: str, device: str | None = None) -> LoadedModel:
    """Load a model in the dtype of its checkpoint; no code of the checkpoint is run.

    Args:
        source: a directory, or a name that transformers knows.
        device: where to; None is the first CUDA device, or the CPU if there is none.

    Raises:
        UnservableError: it cannot be loaded, or has no tokenizer.
    """
    logging.disable_progress_bar()
    here = Path(source).is_dir()
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, local_files_only=here)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype="auto", local_files_only=here
        ).eval()
        model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except _REASONS as error:
        reason = _first_line(error).rstrip(".")
        raise UnservableError(f"{source} cannot be served: {reason}.") from error
    ends = _ends(model, tokenizer)
    model.generation_config = _plain(model.generation_config, ends)
    config = model.config.get_text_config()
    return LoadedModel(
        source,
        model,
        tokenizer,
        int(getattr(config, "max_position_embeddings", None) or DEFAULT_CONTEXT),
        int(model.get_input_embeddings().num_embeddings),
        ends,
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _ends(model: Any, tokenizer: Any) -> tuple[int, ...]:
    found = model.generation_config.eos_token_id
    found = tokenizer.eos_token_id if found is None else found
    if found is None:
        return ()
    return tuple(found) if isinstance(found, list | tuple) else (int(found),)


def _plain(found: Any, ends: tuple[int, ...]) -> Any:
    """A configuration that adds nothing to what a request asks for."""
    pad = found.pad_token_id
    return GenerationConfig(
        bos_token_id=found.bos_token_id,
        eos_token_id=list(ends) or None,
        pad_token_id=pad if pad is not None else next(iter(ends), 0),
    )
