"""Requests in the form of OpenAI's API, and the jobs that they become.

Unknown fields are ignored, as vLLM does.  Fields that would change the reply and are not offered
are refused, unless their value has no effect.
"""

# Annotations are read while the program runs, by pydantic.

from dataclasses import dataclass
from typing import Annotated, Any

from jinja2 import TemplateError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pvc.errors import PvcError
from pvc.serve.http import limits
from pvc.serve.model.generation import SEEDS, Sampling
from pvc.serve.model.generation_job import GenerationJob, Prompt
from pvc.serve.model.loaded_model import LoadedModel

DEFAULT_TOKENS = 16
"""Tokens of a completion without `max_tokens`, as OpenAI has it."""

NOT_OFFERED: dict[str, tuple[object, ...]] = {
    "best_of": (1,),
    "suffix": ("",),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "repetition_penalty": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "use_beam_search": (False,),
    "ignore_eos": (False,),
    "min_tokens": (0,),
    "prompt_logprobs": (),
    "tools": ([],),
    "functions": ([],),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
}
"""Fields that are refused, and the values that have no effect (as None always has none)."""


def _whole(text: str) -> str:
    text.encode()  # a lone half of a pair of surrogates is a ValueError
    return text


Text = Annotated[str, AfterValidator(_whole)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, strict=True)]
Ids = Annotated[list[Count], Field(min_length=1)]
Stop = Annotated[str, Field(min_length=1, max_length=limits.MAX_STOP_LENGTH)]
Alternatives = Annotated[int, Field(ge=0, le=limits.MAX_ALTERNATIVES)]


class RequestError(PvcError):
    """A request is malformed, or wants what this server does not offer.

    Attributes:
        param: the field, None if it is none of them.
        code: what OpenAI calls it, None if it has no name for it.
        status: the HTTP status.
    """

    def __init__(
        self, text: str, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        self.param = param
        self.code = code
        self.status = status
        super().__init__(text)


def check_model(wanted: str, name: str) -> None:
    """Make sure that a request is for the model of this server.

    Raises:
        RequestError: it is not.
    """
    if wanted != name:
        text = f"The model {wanted!r} does not exist; this server has {name!r}."
        raise RequestError(text, "model", "model_not_found", 404)


class StreamOptions(BaseModel):
    """How a reply is streamed."""

    include_usage: bool = False


class OpenAIRequest(BaseModel):
    """The fields that both kinds of requests have."""

    model_config = ConfigDict(extra="allow", frozen=True)

    model: str | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    n: Annotated[int, Field(ge=1, le=limits.MAX_REPLIES)] | None = None
    seed: Annotated[int, Field(ge=-SEEDS, lt=SEEDS)] | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=limits.MAX_STOPS)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None

    def check(self, name: str) -> None:
        """Make sure that it is for this model, and wants only what is offered.

        Raises:
            RequestError: it does not.
        """
        if self.model is not None:
            check_model(self.model, name)
        extra = self.model_extra or {}
        for field, neutral in NOT_OFFERED.items():
            if extra.get(field) is not None and extra[field] not in neutral:
                raise RequestError(f"{field} is not offered by this server.", field)

    def sampling(self, most: int, alternatives: int | None) -> Sampling:
        """How its replies are generated."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return Sampling(
            most=most,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=self.seed,
            stop=tuple(stop or ()),
            alternatives=alternatives,
        )

    @property
    def wants_usage(self) -> bool:
        """Whether a stream ends with the numbers of tokens."""
        return self.stream_options is not None and self.stream_options.include_usage


@dataclass(frozen=True, slots=True)
class Room:
    """The tokens that a request takes.

    Attributes:
        prompt: those of the prompt.
        reply: the most of the reply.
        prompt_field: the field of the prompt.
        reply_field: the field that says how many the reply may have.
    """

    prompt: int
    reply: int
    prompt_field: str
    reply_field: str = "max_tokens"


class Completion(OpenAIRequest):
    """A request for continuations of prompts."""

    prompt: (
        Text
        | Ids
        | Annotated[list[Text], Field(min_length=1, max_length=limits.MAX_PROMPTS)]
        | Annotated[list[Ids], Field(min_length=1, max_length=limits.MAX_PROMPTS)]
    )
    logprobs: Alternatives | None = None
    echo: bool | None = None

    def job(self, loaded: LoadedModel) -> GenerationJob:
        """The job that it becomes.

        Raises:
            RequestError: prompt and reply have no room, or the prompt is none.
        """
        found: list[Any] = [self.prompt] if _is_one(self.prompt) else list(self.prompt)
        prompts = tuple(_prompt(one, loaded) for one in found)
        most = DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens
        for prompt in prompts:
            _check_room(loaded, Room(len(prompt.ids), most, "prompt"))
        return GenerationJob(
            prompts, self.n or 1, self.sampling(most, self.logprobs), echo=bool(self.echo)
        )


class MessagePart(BaseModel):
    """A part of a message."""

    type: str
    text: str | None = None


class Message(BaseModel):
    """A message of a conversation; templates may look at further fields."""

    model_config = ConfigDict(extra="allow", frozen=True)

    role: str
    content: str | list[MessagePart] | None = None

    def plain(self) -> dict[str, Any]:
        """As chat templates expect it.

        Raises:
            RequestError: it holds other things than text.
        """
        content = self.content
        if isinstance(content, list):
            kinds = {part.type for part in content} - {"text"}
            if kinds:
                text = f"Content of the type {min(kinds)!r} is not offered, text is."
                raise RequestError(text, "messages")
            content = "".join(part.text or "" for part in content)
        return {**(self.model_extra or {}), "role": self.role, "content": content or ""}


class Chat(OpenAIRequest):
    """A request for the next message of a conversation."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=limits.MAX_MESSAGES)]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None

    def job(self, loaded: LoadedModel) -> GenerationJob:
        """The job that it becomes.

        Raises:
            RequestError: the model cannot chat, or prompt and reply have no room.
        """
        if not loaded.chats:
            raise RequestError(
                "The model's tokenizer has no chat template.", "messages", "no_chat_template"
            )
        try:
            text = loaded.chat([message.plain() for message in self.messages])
            prompt = Prompt(text, tuple(loaded.encode(text, special=False)))
        except (TemplateError, TypeError, ValueError) as error:
            text = f"The chat template refuses these messages: {error}"
            raise RequestError(text, "messages") from error
        count, wanted, field = len(prompt.ids), self.max_completion_tokens, "max_completion_tokens"
        if wanted is None:
            wanted, field = self.max_tokens, "max_tokens"
        most = max(0, loaded.context - count) if wanted is None else wanted
        _check_room(loaded, Room(count, most, "messages", field))
        alternatives = (self.top_logprobs or 0) if self.logprobs else None
        return GenerationJob((prompt,), self.n or 1, self.sampling(most, alternatives))


def _is_one(prompt: str | list[Any]) -> bool:
    return isinstance(prompt, str) or isinstance(prompt[0], int)


def _prompt(found: str | list[int], loaded: LoadedModel) -> Prompt:
    if isinstance(found, str):
        return Prompt(found, tuple(loaded.encode(found)))
    if max(found) >= loaded.vocabulary:
        text = f"The prompt holds the token {max(found)}; there are {loaded.vocabulary} tokens."
        raise RequestError(text, "prompt")
    return Prompt(loaded.decode(found), tuple(found))


def _check_room(loaded: LoadedModel, asked: Room) -> None:
    """Make sure that prompt and reply fit; refusals have the words that clients go by.

    Raises:
        RequestError: they do not.
    """
    if not asked.prompt:
        raise RequestError("The prompt is empty.", asked.prompt_field)
    count, limit = asked.prompt + asked.reply, loaded.context
    if asked.prompt < limit and count <= limit:
        return
    what = asked.prompt_field
    most = f"This model's maximum context length is {limit} tokens. However,"
    if asked.prompt >= limit:
        text = (
            f"{most} your {what} resulted in {asked.prompt} tokens. Please reduce the length of "
            f"the {what}."
        )
    else:
        text = (
            f"{most} you requested {count} tokens ({asked.prompt} in the {what}, {asked.reply} in "
            f"the completion). Please reduce the length of the {what} or completion."
        )
    field = what if asked.prompt >= limit else asked.reply_field
    raise RequestError(text, field, "context_length_exceeded")
