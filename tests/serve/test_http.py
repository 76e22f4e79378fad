"""The HTTP server, asked by a client, beside what transformers itself says."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import torch

import pvc
from pvc import live
from pvc.live.client.connection import RefusedError
from pvc.serve.http.app import Service
from pvc.serve.model import turn_queue
from pvc.serve.model.generation import Sampling
from pvc.serve.model.generation_job import GenerationJob, Prompt
from pvc.serve.model.turn_queue import TurnQueue, UnavailableError
from tests.live.conftest import held, update
from tests.support.served import HUGE, PROMPT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.served import Reference, Server

pytestmark = pytest.mark.slow
SEED = 5


# What it says of itself


def test_it_tells_what_it_serves(server: Server, model: Path) -> None:
    told = {key: value for key, value in server.told.items() if key != "url"}
    assert told == {
        "name": "chat", "model": "Qwen3ForCausalLM", "device": "cpu", "dtype": "bfloat16",
    }  # fmt: skip
    assert server.client.get("/health").json()["status"] == "ok"
    (found,) = server.client.get("/v1/models").json()["data"]
    assert (found["id"], found["object"], found["owned_by"]) == ("chat", "model", "pvc")
    assert (found["root"], found["max_model_len"]) == (str(model), 64)


# Completions


@pytest.mark.parametrize("prompt", [PROMPT, "please paint the table"])
def test_greedy_tokens_and_logprobs_are_those_of_transformers(
    server: Server, reference: Reference, prompt: str
) -> None:
    ids = reference.loaded.encode(prompt)
    tokens, logprobs = reference.generate(ids, 12)
    answers = [
        server.ask(prompt=one, max_tokens=12, temperature=0, logprobs=3)
        for one in (prompt, [prompt], ids, [ids])
    ]
    (choice,) = answers[0]["choices"]
    assert all(answer["choices"] == [choice] for answer in answers)
    assert choice["text"] == reference.words(tokens)
    told = choice["logprobs"]
    assert told["tokens"] == [reference.loaded.name(token) for token in tokens]
    pairs = zip(tokens, logprobs, strict=True)
    assert told["token_logprobs"] == [float(row[token]) for token, row in pairs]
    for row, alternatives in zip(logprobs, told["top_logprobs"], strict=True):
        best = {reference.loaded.name(int(one)): float(row[one]) for one in row.topk(3).indices}
        assert best.items() <= alternatives.items()
        assert len(alternatives) <= 4
    offsets = zip(told["text_offset"], told["tokens"], strict=True)
    assert all(choice["text"][at:].strip().startswith(word) for at, word in offsets)
    assert answers[0]["usage"] == {
        "prompt_tokens": len(ids), "completion_tokens": 12, "total_tokens": len(ids) + 12,
    }  # fmt: skip
    assert (choice["finish_reason"], answers[0]["object"]) == ("length", "text_completion")


def test_sampled_replies_are_those_of_transformers(server: Server, reference: Reference) -> None:
    how: dict[str, Any] = {"temperature": 1.5, "top_p": 0.9}
    answer = server.ask(prompt=PROMPT, max_tokens=8, n=3, seed=SEED, **how)
    ids = reference.loaded.encode(PROMPT)
    texts = [
        reference.words(reference.generate(ids, 8, seed=SEED + n, do_sample=True, **how)[0])
        for n in range(3)
    ]
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert len(set(texts)) == 3


def test_without_a_seed_replies_vary(server: Server) -> None:
    assert len({server.text(prompt=PROMPT, max_tokens=8, temperature=2) for _ in range(4)}) > 1


def test_several_prompts_have_replies_in_their_order(server: Server) -> None:
    prompts = [PROMPT, "reverse one two"]
    answer = server.ask(prompt=prompts, max_tokens=4, n=2, seed=SEED)
    alone = [server.ask(prompt=one, max_tokens=4, n=2, seed=SEED) for one in prompts]
    texts = [choice["text"] for one in alone for choice in one["choices"]]
    assert [choice["text"] for choice in answer["choices"]] == texts
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]


def test_an_end_of_the_model_ends_the_reply(server: Server) -> None:
    answer = server.ask(prompt=PROMPT, max_tokens=50, n=8, seed=SEED, logprobs=0)
    ended = [one for one in answer["choices"] if one["finish_reason"] == "stop"]
    assert ended
    for choice in ended:
        assert choice["logprobs"]["tokens"][-1] == "</s>"
        assert "</s>" not in choice["text"]


def test_a_stop_ends_the_reply_before_it(server: Server) -> None:
    request: dict[str, Any] = {"prompt": PROMPT, "max_tokens": 8, "temperature": 0}
    text = server.text(**request)
    for stop in (text[3:7], [text[3:7], "never"]):
        (choice,) = server.ask(**request, stop=stop)["choices"]
        assert (choice["text"], choice["finish_reason"]) == (text[: text.find(text[3:7])], "stop")
        streamed = server.stream(**request, stop=stop)
        assert "".join(chunk["choices"][0]["text"] for chunk in streamed) == choice["text"]
    assert server.text(**request, stop="never") == text


def test_an_echo_begins_with_the_prompt(server: Server, reference: Reference) -> None:
    reply = server.text(prompt=PROMPT, max_tokens=3, temperature=0)
    assert server.text(prompt=PROMPT, max_tokens=3, temperature=0, echo=True) == PROMPT + reply
    assert server.text(prompt=PROMPT, max_tokens=0, echo=True) == PROMPT
    (choice,) = server.ask(
        prompt=PROMPT, max_tokens=2, temperature=0, echo=True, logprobs=1
    )["choices"]  # fmt: skip
    ids = reference.loaded.encode(PROMPT)
    with torch.no_grad():
        logits = reference.loaded.model(torch.tensor([ids])).logits[0].float()
    rows = torch.log_softmax(logits, -1)
    told = choice["logprobs"]["token_logprobs"]
    assert told[0] is None
    expected = [float(rows[at, token]) for at, token in enumerate(ids[1:])]
    assert told[1 : len(ids)] == pytest.approx(expected, abs=1e-3)
    assert len(told) == len(ids) + 2


# Streams


def test_a_stream_brings_what_the_whole_reply_is(server: Server) -> None:
    request: dict[str, Any] = {
        "prompt": PROMPT,
        "max_tokens": 6,
        "n": 2,
        "seed": SEED,
        "logprobs": 1,
    }
    whole = server.ask(**request)
    *parts, numbers = server.stream(**request, stream_options={"include_usage": True})
    assert (numbers["choices"], numbers["usage"]) == ([], whole["usage"])
    assert len({part["id"] for part in parts}) == 1
    for index, choice in enumerate(whole["choices"]):
        mine = [part["choices"][0] for part in parts if part["choices"][0]["index"] == index]
        assert "".join(part["text"] for part in mine) == choice["text"]
        likely = [one for part in mine for one in part["logprobs"]["token_logprobs"]]
        assert likely == choice["logprobs"]["token_logprobs"]
        assert [part["finish_reason"] for part in mine][-1] == choice["finish_reason"]
        assert len(mine) > 2


def test_a_client_that_leaves_stops_its_reply(server: Server) -> None:
    with server.opened(**HUGE) as answer:
        next(answer.iter_lines())
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("/v1/completions", json=HUGE, timeout=0.5)
    assert server.text(prompt=PROMPT, max_tokens=1)  # in its turn, not in half an hour


# Chat


def test_chat_follows_the_template(server: Server, reference: Reference) -> None:
    messages = [
        {"role": "user", "content": "paint the door"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [{"type": "text", "text": "and the table"}]},
    ]
    answer = server.ask(
        "chat/completions", messages=messages, max_completion_tokens=5, temperature=0,
        logprobs=True, top_logprobs=2,
    )  # fmt: skip
    loaded = reference.loaded
    ids = loaded.encode("paint the door") + loaded.encode("yes", special=False)[:1]
    ids += [loaded.ends[0], *loaded.encode("and the table")]
    tokens, logprobs = reference.generate(ids, 5)
    (choice,) = answer["choices"]
    assert choice["message"] == {"role": "assistant", "content": reference.words(tokens)}
    told = choice["logprobs"]["content"]
    pairs = list(zip(tokens, logprobs, strict=True))
    assert [one["logprob"] for one in told] == [float(row[token]) for token, row in pairs]
    assert [len(one["top_logprobs"]) for one in told] == [2] * 5
    assert bytes(told[0]["bytes"]).decode() == told[0]["token"]
    first, *streamed = server.stream(
        "chat/completions", messages=messages, max_tokens=5, temperature=0
    )
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    texts = [part["choices"][0]["delta"].get("content", "") for part in streamed]
    assert "".join(texts) == choice["message"]["content"]
    assert streamed[-1]["choices"][0]["finish_reason"] == "length"
    assert streamed[-1]["object"] == "chat.completion.chunk"


def test_chat_without_a_limit_fills_the_context(server: Server) -> None:
    messages = [{"role": "user", "content": "open the door"}]
    answer = server.ask("chat/completions", messages=messages, temperature=0)
    assert answer["usage"]["total_tokens"] == 64


# What is refused

USER = [{"role": "user", "content": "open the door"}]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("completions", {}, 400, "prompt"),
        ("completions", {"prompt": 5}, 400, "prompt"),
        ("completions", {"prompt": []}, 400, "prompt"),
        ("completions", {"prompt": ["a"] * 65}, 400, "prompt"),
        ("completions", {"prompt": [-1]}, 400, "prompt"),
        ("completions", {"prompt": [98]}, 400, "prompt"),
        ("completions", {"prompt": PROMPT, "model": "other"}, 404, "model"),
        ("completions", {"prompt": PROMPT, "n": 17}, 400, "n"),
        ("completions", {"prompt": PROMPT, "n": 0}, 400, "n"),
        ("completions", {"prompt": PROMPT, "temperature": 2.5}, 400, "temperature"),
        ("completions", {"prompt": PROMPT, "top_p": 0}, 400, "top_p"),
        ("completions", {"prompt": PROMPT, "logprobs": 21}, 400, "logprobs"),
        ("completions", {"prompt": PROMPT, "max_tokens": -1}, 400, "max_tokens"),
        ("completions", {"prompt": PROMPT, "max_tokens": 60}, 400, "max_tokens"),
        ("completions", {"prompt": PROMPT, "stop": ""}, 400, "stop"),
        ("completions", {"prompt": PROMPT, "stop": ["a"] * 17}, 400, "stop"),
        ("completions", {"prompt": PROMPT, "best_of": 3}, 400, "best_of"),
        ("completions", {"prompt": PROMPT, "frequency_penalty": 1}, 400, "frequency_penalty"),
        ("chat/completions", {"messages": []}, 400, "messages"),
        ("chat/completions", {"messages": USER, "tools": [{}]}, 400, "tools"),
        ("chat/completions", {"messages": USER, "max_tokens": 64}, 400, "max_tokens"),
        (
            "chat/completions",
            {"messages": USER, "max_completion_tokens": 64},
            400,
            "max_completion_tokens",
        ),
        ("chat/completions", {"messages": USER * 40}, 400, "messages"),
        ("chat/completions", {"messages": USER * 40, "max_tokens": 1}, 400, "messages"),
        ("completions", {"prompt": [1] * 64, "max_tokens": 1}, 400, "prompt"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            400,
            "messages",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(
    server: Server, path: str, body: dict[str, object], status: int, param: str
) -> None:
    answer = server.post(path, **body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert error["message"].endswith(".")


def test_a_request_that_is_too_long(server: Server) -> None:
    """In the words by which clients shorten a conversation."""
    for path, body, words in (
        ("completions", {"prompt": [1] * 60, "max_tokens": 5},
         "you requested 65 tokens (60 in the prompt, 5 in the completion)"),
        ("completions", {"prompt": [1] * 70, "max_tokens": 5}, "your prompt resulted in 70 tokens"),
        ("chat/completions", {"messages": USER * 40}, "your messages resulted in"),
    ):  # fmt: skip
        error = server.post(path, **body).json()["error"]
        assert error["message"].startswith("This model's maximum context length is 64 tokens. ")
        assert words in error["message"]
        assert error["code"] == "context_length_exceeded"
    server.ask(prompt=[1] * 59, max_tokens=5, temperature=0)


def test_the_model_by_its_name(server: Server) -> None:
    (listed,) = server.client.get("/v1/models").json()["data"]
    assert server.client.get(f"/v1/models/{listed['id']}").json() == listed
    for name in ("other", "org/other"):
        answer = server.client.get(f"/v1/models/{name}")
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("sent", ["mine-1", None, "a b", "x" * 300])
def test_every_reply_has_the_id_of_its_request(server: Server, sent: str | None) -> None:
    headers = {} if sent is None else {"x-request-id": sent}
    found = [
        server.client.get("/health", headers=headers),
        server.client.get("/nowhere", headers=headers),
        server.client.post("/v1/completions", content=b"{", headers=headers),
        server.client.post("/v1/completions", json={"prompt": PROMPT}, headers=headers),
    ]
    ids = [one.headers["x-request-id"] for one in found]
    if sent == "mine-1":
        assert ids == [sent] * 4
    else:
        assert len(set(ids)) == 4
        assert sent not in ids


def test_bodies_that_are_none_are_refused(server: Server) -> None:
    def post(content: bytes, kind: str = "application/json") -> tuple[int, str]:
        headers = {"content-type": kind}
        answer = server.client.post("/v1/completions", content=content, headers=headers)
        return answer.status_code, answer.json()["error"]["message"]

    assert post(b'{"prompt": ') == (400, "The body is not JSON.")
    assert post(b'{"prompt": "a"}', "text/plain")[0] == 400
    assert post(b'{"prompt": "\\ud800"}')[0] == 400
    assert post(b" " * (8 << 20) + b"{}") == (413, "The request has more than 8388608 bytes.")
    for path in ("/v1/embeddings", "/", "/docs", "/openapi.json"):
        assert server.client.get(path).status_code == 404
    assert server.client.get("/v1/completions").status_code == 405


def test_what_asks_for_nothing_is_ignored(server: Server) -> None:
    more = {"best_of": 1, "presence_penalty": 0, "logit_bias": None, "user": "x", "whatever": [1]}
    assert server.text(prompt=PROMPT, max_tokens=1, temperature=0, model="chat", **more)


# Turns


def order(most: int = 4) -> GenerationJob:
    return GenerationJob((Prompt("", (1, 6, 7, 3)),), 1, Sampling(most, temperature=0))


async def taken(found: TurnQueue) -> str:
    return "".join([piece.text async for piece in found.take(order(), threading.Event())])


def test_too_many_that_wait_are_refused(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_queue, "MAX_WAITING", 2)

    async def crowd(found: TurnQueue) -> list[object]:
        return await asyncio.gather(*(taken(found) for _ in range(3)), return_exceptions=True)

    with pvc.share(reference.loaded.model, "crowd", folder=tmp_path / "engines") as engine:
        found = TurnQueue(reference.loaded, engine)
        one, two, three = asyncio.run(crowd(found))
        found.close()
    assert one == two
    assert isinstance(one, str)
    assert isinstance(three, UnavailableError)


def test_weights_that_are_not_whole_generate_nothing(reference: Reference, tmp_path: Path) -> None:
    fails = [True]

    def committed(_: object) -> None:
        if fails[0]:
            raise RuntimeError("the cache was not reset")

    folder = tmp_path / "engines"
    model = reference.loaded.model
    with pvc.share(model, "torn", committed=committed, folder=folder) as engine:
        found = TurnQueue(reference.loaded, engine)
        service = Service("torn", reference.loaded, found)
        before = asyncio.run(taken(found))
        with live.connect("torn", folder) as connection:
            base = held(connection)
            with pytest.raises(RefusedError):
                update(connection, base, base.changed())
            for refused in (taken(found), service.health()):
                with pytest.raises(UnavailableError, match="the cache was not reset"):
                    asyncio.run(refused)
            fails[0] = False
            update(connection, held(connection), base)
        assert asyncio.run(taken(found)) == before
        found.close()
