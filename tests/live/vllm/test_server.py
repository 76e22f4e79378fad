"""A server of vLLM is an engine; requests notice neither updates nor killed clients."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pvc import live
from tests.live.conftest import CREW
from tests.live.conftest import held as now
from tests.live.conftest import update as update_from
from tests.live.crash.test_kills import Clients
from tests.live.vllm.conftest import needs_vllm
from tests.support.vllm_checkpoints import content
from tests.support.vllm_server import Load, Server, start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.live.conftest import Weights
    from tests.live.vllm.conftest import Llms

pytestmark = [pytest.mark.live, needs_vllm]

KILLS = 24
INSIDE = 10  # at least so many of them once the commit was asked for
MOST_KILLS = 3 * KILLS


def update(connection: live.Connection, before: Weights, after: Weights) -> None:
    update_from(connection, before, after, repository="/r")  # as killed clients do


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[[str], Path]
) -> Iterator[Server]:
    """A running server with the base weights."""
    found = start(checkpoint("untied"), tmp_path_factory.mktemp("server"), "served")
    try:
        found.wait()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="module")
def base(checkpoint: Callable[[str], Path]) -> Weights:
    return content(checkpoint("untied"))


@pytest.fixture(scope="module")
def tuned(checkpoint: Callable[[str], Path]) -> Weights:
    return content(checkpoint("untied tuned"))


def test_outputs_are_those_of_a_fresh_engine_and_come_back(
    server: Server, base: Weights, tuned: Weights, llms: Llms, checkpoint: Callable[[str], Path]
) -> None:
    llms.load("fresh", checkpoint("untied tuned"))
    fresh, before = llms.outputs("fresh"), server.outputs()
    with server.connect() as connection:
        assert live.content(connection, CREW)[0].id == base.tree.id
        update(connection, base, tuned)
        after = server.outputs()
        assert after == fresh != before
        assert live.content(connection, CREW)[0].id == tuned.tree.id
        update(connection, tuned, base)
    assert server.outputs() == before


def test_replies_name_their_weights(server: Server, base: Weights, tuned: Weights) -> None:
    """Both, if they changed while the reply was made."""
    trees = [f"pvc:{one.tree.id.hex()}" for one in (base, tuned)]
    with server.connect() as connection:
        update(connection, now(connection), tuned)
        for stream in (False, True):
            assert server.weights_of(4, stream=stream) == trees[1]
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(server.weights_of, 220)
            time.sleep(0.1)
            update(connection, tuned, base)
            assert reply.result() == ", ".join(reversed(trees))
    assert server.weights_of(4) == trees[0]


def test_nothing_is_added_to_the_public_port(server: Server) -> None:
    """It works with vLLM's development mode off, whose routes are not there."""
    paths = server.get("/openapi.json")["paths"]
    assert not [path for path in paths if "pvc" in path or "weight" in path or "pause" in path]


def test_updates_under_load(server: Server, base: Weights, tuned: Weights) -> None:
    before = server.outputs()
    with Load(server) as load, server.connect() as connection:
        for _ in range(4):
            update(connection, base, tuned)
            update(connection, tuned, base)
    assert load.failures == []
    assert load.answers > 0
    assert server.outputs() == before


def test_killed_clients(server: Server, base: Weights) -> None:
    """Whenever a client is killed, the engine holds one of both trees, and requests go on.

    Counted are those that die once they have asked for the commit; they never hear the answer.
    """
    clients = Clients(server)  # type: ignore[arg-type]  # it has a name and a folder
    chance = random.Random(5)
    before = server.outputs()
    inside = 0
    try:
        with Load(server) as load:
            for at in range(MOST_KILLS):
                if at >= KILLS and inside >= INSIDE:
                    break
                with server.connect() as connection:
                    held = connection.state().origin
                number = 1 if held is None else 1 - clients.trees.index(held.tree)
                point = ("commit sent", "none", "commit sent", "before commit")[at % 4]
                kill_at = "commit" if point == "none" else None
                phase = clients.run(number, point, kill_at, chance.random() * 0.005)
                inside += point == "commit sent" and phase == "commit"
                with server.connect() as connection:
                    tree, state = live.content(connection, CREW)
                assert tree.id in clients.trees
                assert state.torn is None
    finally:
        clients.process.kill()
        clients.process.communicate()
    assert load.failures == []
    assert load.answers > 0
    assert inside >= INSIDE
    with server.connect() as connection:
        update(connection, now(connection), base)
    assert server.outputs() == before
