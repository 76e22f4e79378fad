"""The routes of the server, and the HTTP status of every error."""

# Annotations are read while the program runs, by FastAPI.

import asyncio
import contextlib
import json
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from pvc.errors import PvcError
from pvc.serve.http import replies
from pvc.serve.http.limits import BodyLimit
from pvc.serve.http.replies import ChatForm, CompletionForm, OpenAIReply
from pvc.serve.http.request_id import RequestId
from pvc.serve.http.requests import (
    Chat,
    Completion,
    OpenAIRequest,
    RequestError,
    check_model,
)
from pvc.serve.model.generation_job import GenerationJob, ReplyPiece
from pvc.serve.model.loaded_model import LoadedModel
from pvc.serve.model.turn_queue import TurnQueue, UnavailableError

log = logging.getLogger("pvc.live")

UNAVAILABLE = 503
WEIGHTS_HEADER = "x-pvc-weights"


class Service:
    """The handlers of the routes.

    Args:
        name: what engine and model are called.
        loaded: the model.
        turns: generates with it.
    """

    def __init__(self, name: str, loaded: LoadedModel, turns: TurnQueue) -> None:
        self._name = name
        self._loaded = loaded
        self._turns = turns
        self._began = int(time.time())

    def app(self) -> ASGIApp:
        """The application."""
        app = FastAPI(title="pvc serve", openapi_url=None)
        app.add_api_route("/health", self.health, methods=["GET"])
        app.add_api_route("/v1/models", self.models, methods=["GET"])
        app.add_api_route("/v1/models/{name:path}", self.model, methods=["GET"])
        app.add_api_route("/v1/completions", self.complete, methods=["POST"])
        app.add_api_route("/v1/chat/completions", self.chat, methods=["POST"])
        app.add_exception_handler(PvcError, _refused)
        app.add_exception_handler(HTTPException, _no_route)
        app.add_exception_handler(RequestValidationError, _malformed)
        app.add_exception_handler(Exception, _mistaken)
        app.add_middleware(BodyLimit)
        return RequestId(app)

    async def health(self) -> Response:
        """Whether requests are answered."""
        self._turns.check_weights()
        return JSONResponse({"status": "ok", "weights": self._turns.weights()})

    async def models(self) -> Response:
        """The one model there is, and the version of its weights."""
        return JSONResponse({"object": "list", "data": [self._model()]})

    async def model(self, name: str) -> Response:
        """The same by its name."""
        check_model(name, self._name)
        return JSONResponse(self._model())

    def _model(self) -> dict[str, Any]:
        return {
            "id": self._name,
            "object": "model",
            "created": self._began,
            "owned_by": "pvc",
            "root": self._loaded.source,
            "max_model_len": self._loaded.context,
            "weights": self._turns.weights(),
        }

    async def complete(self, body: Completion, request: Request) -> Response:
        """Continue prompts."""
        body.check(self._name)
        job = await asyncio.to_thread(body.job, self._loaded)
        answer = OpenAIReply(CompletionForm(), job, self._loaded, self._name)
        return await self._answer(body, job, answer, request)

    async def chat(self, body: Chat, request: Request) -> Response:
        """The next message of a conversation."""
        body.check(self._name)
        job = await asyncio.to_thread(body.job, self._loaded)
        answer = OpenAIReply(ChatForm(), job, self._loaded, self._name)
        return await self._answer(body, job, answer, request)

    async def _answer(
        self, body: OpenAIRequest, job: GenerationJob, answer: OpenAIReply, request: Request
    ) -> Response:
        pieces = self._pieces(job, request)
        if not body.stream:
            async for piece in pieces:
                answer.add(piece)
            return JSONResponse(answer.whole(), headers=_headers(answer))
        first = await anext(pieces, None)  # what is refused is refused with its own status
        if first is not None:
            answer.weights = first.weights
        stream = _stream(first, pieces, answer, numbers=body.wants_usage)
        return StreamingResponse(stream, headers=_headers(answer), media_type="text/event-stream")

    async def _pieces(self, job: GenerationJob, request: Request) -> AsyncIterator[ReplyPiece]:
        """The pieces of a job, for as long as the client is there."""
        gone = threading.Event()
        watch = asyncio.create_task(_watch(request, gone.set))
        try:
            async with contextlib.aclosing(self._turns.take(job, gone)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            watch.cancel()


def _headers(answer: OpenAIReply) -> dict[str, str]:
    """Which weights a reply comes from: a request is one step of the engine."""
    return {} if answer.weights is None else {WEIGHTS_HEADER: answer.weights}


async def _watch(request: Request, gone: Callable[[], None]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    gone()


async def _stream(
    first: ReplyPiece | None,
    pieces: AsyncIterator[ReplyPiece],
    answer: OpenAIReply,
    *,
    numbers: bool,
) -> AsyncIterator[str]:
    """Server-sent events; an error ends them."""
    try:
        if first is not None:
            for chunk in answer.chunks(first):
                yield _event(chunk)
        async for piece in pieces:
            for chunk in answer.chunks(piece):
                yield _event(chunk)
    except PvcError as error:
        yield _event(replies.error(str(error), _status(error)))
        return
    if numbers:
        yield _event(answer.numbers())
    yield "data: [DONE]\n\n"


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _status(error: PvcError) -> int:
    if isinstance(error, RequestError):
        return error.status
    return UNAVAILABLE if isinstance(error, UnavailableError) else replies.SERVER_ERROR


async def _refused(_: Request, error: Exception) -> Response:
    status = _status(error) if isinstance(error, PvcError) else replies.SERVER_ERROR
    param, code = getattr(error, "param", None), getattr(error, "code", None)
    return JSONResponse(replies.error(str(error), status, param, code), status)


async def _no_route(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else replies.SERVER_ERROR
    text = str(getattr(error, "detail", error))
    if status in {404, 405}:
        text = f"{request.method} {request.url.path} is not offered by this server."
    return JSONResponse(replies.error(text, status), status)


async def _malformed(_: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    first: dict[str, Any] = next(iter(found), {})
    if first.get("type") == "json_invalid":
        return JSONResponse(replies.error("The body is not JSON.", 400), 400)
    where = [str(part) for part in first.get("loc", ())[1:2]]
    text = f"{where[0] if where else 'The body'}: {first.get('msg', 'it is malformed')}."
    return JSONResponse(replies.error(text, 400, *where), 400)


async def _mistaken(_: Request, error: Exception) -> Response:
    log.error("pvc: A request failed.", exc_info=error)
    text = f"This is a bug in pvc: {type(error).__name__}."
    return JSONResponse(replies.error(text, replies.SERVER_ERROR), replies.SERVER_ERROR)
