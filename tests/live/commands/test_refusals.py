"""What is refused, in words, with nothing changed."""

from __future__ import annotations

import contextlib
import mmap
import os
import resource
import signal
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import pvc
from pvc import live
from pvc.live.announced.registry import EngineEndedError, NoEngineError, SeveralEnginesError
from pvc.live.client.connection import RefusedError, UnreachableError
from pvc.live.client.model_check import OtherModelError
from pvc.live.memory import sealed
from pvc.live.protocol import wire
from pvc.live.protocol.engine_state import ContentLabel
from pvc.live.protocol.update import TensorUpdate, WeightUpdate, stage_bytes
from pvc_store import atomic
from pvc_store.tree import Tree
from tests.live.conftest import CREW, held, left, update

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.live.conftest import EngineProcess, Starter, Weights

SCRIBBLES = 20


@pytest.fixture
def unchanged(lasting: EngineProcess) -> Iterator[tuple[live.Connection, Weights]]:
    """A connection, and what the engine holds before and after the test."""
    with lasting.connect() as connection:
        base = held(connection)
        before = connection.state()
        yield connection, base
    with lasting.connect() as again:
        tree, state = live.content(again, CREW)
        assert tree.id == base.tree.id
        assert state == before
        other = base.changed("up.bias")
        update(again, base, other)  # and it still works
        update(again, other, base)


def change(connection: live.Connection, before: Weights, after: Weights) -> WeightUpdate:
    state = connection.state()
    pairs = ((before.tree[name], tensor) for name, tensor in after.tree.items())
    tensors = tuple(one for one in (TensorUpdate.between(*pair) for pair in pairs) if one.indices)
    origin = ContentLabel(after.tree.id, "/here", "main")
    return WeightUpdate(origin, state.generation, state.stamp, False, tensors)


def stage(
    wanted: WeightUpdate, after: Weights, seals: int = sealed.STAGE_SEALS, spoil: int = 0
) -> int:
    size = stage_bytes(wanted, {name: t.nbytes for name, t in after.tree.items()})
    fd = sealed.create("the stage", size)
    at = 0
    for tensor in wanted.tensors:
        for index in tensor.indices:
            length = after.tree[tensor.name].block_length(index)
            out = np.empty(length, np.uint8)
            after.read(after.tree[tensor.name], index, out)
            out[length // 2] ^= spoil
            atomic.write_all(fd, out.data, at)
            at += -(-length // 64) * 64
    if seals:
        sealed.seal(fd, seals)
    return fd


def test_a_stage_that_could_still_change(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    after = base.changed("up.bias")
    wanted = change(connection, base, after)
    with pytest.raises(RefusedError, match=r"The stage cannot be used: its seals") as caught:
        connection.prepare(wanted, stage(wanted, after, seals=0))
    assert caught.value.kind == "SealError"
    with pytest.raises(RefusedError, match="its seals"):
        connection.prepare(wanted, stage(wanted, after, seals=sealed.WEIGHTS_SEALS))


def test_a_stage_that_is_no_memory(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    wanted = change(connection, base, base.changed("up.bias"))
    reading, writing = os.pipe()
    with pytest.raises(RefusedError, match="no memory that can be sealed"):
        connection.prepare(wanted, reading)
    os.close(reading)
    os.close(writing)


def test_a_stage_of_another_size(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    wanted = change(connection, base, base.changed("up.bias"))
    fd = sealed.create("the stage", 1 << 20)
    sealed.seal(fd, sealed.STAGE_SEALS)
    with pytest.raises(RefusedError, match="1048576 bytes, and"):
        connection.prepare(wanted, fd)


def test_staged_bytes_that_are_not_what_they_should_be(
    unchanged: tuple[live.Connection, Weights],
) -> None:
    connection, base = unchanged
    after = base.changed()
    wanted = change(connection, base, after)
    with pytest.raises(RefusedError, match="are not what their key says"):
        connection.prepare(wanted, stage(wanted, after, spoil=1))


def test_changes_that_do_not_fit(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    after = base.changed("up.bias")
    wanted = change(connection, base, after)
    (bias,) = wanted.tensors
    fd = stage(wanted, after)
    for wrong, says in [
        (replace(bias, name="up.bins"), "the engine has none of this name"),
        (replace(bias, kind="BF16"), r"it is F32 \[1500\] there, and BF16 \[1500\]"),
        (replace(bias, shape=(3,)), r"and F32 \[3\] in the new tree"),
        (replace(bias, indices=(7,)), "it has 1 blocks, and block 7 is named"),
        (replace(bias, before=bytes(16)), "up.bias has other bytes"),
    ]:
        with pytest.raises(RefusedError, match=says):
            connection.prepare(replace(wanted, tensors=(wrong,)), fd)
    with pytest.raises(RefusedError, match="another client has written"):
        connection.prepare(replace(wanted, generation=5), fd)
    with pytest.raises(RefusedError, match="its own process has written"):
        connection.prepare(replace(wanted, stamp=wanted.stamp + 1), fd)
    with pytest.raises(RefusedError, match="Nothing is prepared"):
        connection.commit()


def test_weights_that_change_between_prepare_and_commit(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        after = base.changed("up.bias")
        wanted = change(connection, base, after)
        connection.prepare(wanted, stage(wanted, after))
        engine.ask("poke", names=["turned"])
        with pytest.raises(RefusedError, match="its own process has written"):
            connection.commit()
        drifted, state = live.verify(connection, base.tree, CREW)
        assert drifted == ("turned",)
        assert state.generation == 0


def test_nobody_but_the_engine_can_write(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, _ = unchanged
    _, (fd,) = connection._exchange({"request": "storages"})
    nbytes = connection.manifest.storages[0].nbytes
    with pytest.raises(PermissionError):
        mmap.mmap(fd, nbytes)
    with pytest.raises(OSError, match=r"Bad file descriptor|not permitted"):
        os.pwrite(fd, b"x", 0)
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    with pytest.raises(PermissionError):
        os.pwrite(again, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(again, 0)
    with pytest.raises(PermissionError):
        mmap.mmap(again, nbytes)
    os.close(again)
    os.close(fd)
    with pytest.raises(ValueError, match="read-only"):
        connection.memories[0].data[0] = 1  # type: ignore[attr-defined]


def test_two_clients(unchanged: tuple[live.Connection, Weights], lasting: EngineProcess) -> None:
    connection, base = unchanged
    after = base.changed("up.bias")
    wanted = change(connection, base, after)
    connection.prepare(wanted, stage(wanted, after))
    with lasting.connect() as second:
        assert second.state().holder == os.getpid()
        with pytest.raises(RefusedError, match=f"Process {os.getpid()} is changing") as caught:
            update(second, base, after)
        assert caught.value.kind == "BusyError"
        with pytest.raises(RefusedError, match="Nothing is prepared"):
            second.commit()
    connection.drop()


def test_what_is_prepared_goes_with_its_client(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        after = base.changed("up.bias")
        wanted = change(connection, base, after)
        connection.prepare(wanted, stage(wanted, after))
    with engine.connect() as second:
        assert update(second, base, after).state.generation == 1


def test_two_repositories(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        one, two = base.changed("up.bias"), base.changed("turned")
        update(connection, base, one, repository="/one")
        with pytest.raises(RefusedError, match="weights of the repository /one, not of /two"):
            update(connection, one, two, repository="/two")
        assert live.verify(connection, one.tree, CREW)[0] == ()
        state = update(connection, one, two, repository="/two", take=True).state
        assert state.origin == ContentLabel(two.tree.id, "/two", "main")


def test_an_engine_learns_what_it_holds(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        found = update(connection, base, base, revision="v1")
        assert (found.blocks, found.nbytes) == (0, 0)
        assert found.state.origin == ContentLabel(base.tree.id, "/here", "v1")


def test_a_tree_of_another_model(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    fewer = Tree(tensor for tensor in base.tree.values() if tensor.name != "turned")
    with pytest.raises(OtherModelError, match=r"turned is F32 \[700, 256\] in the engine and abs"):
        live.verify(connection, fewer, CREW)
    other = Tree([*base.tree.values(), replace(base.tree["up.bias"], name="more")])
    with pytest.raises(OtherModelError, match=r"more is absent in the engine and F32 \[1500\] in"):
        live.verify(connection, other, CREW)
    head = replace(base.tree["embed.weight"], name="head.weight", keys=bytes(32))
    untied = Tree([*base.tree.values(), head])
    with pytest.raises(OtherModelError, match="are one in the engine, not in the tree"):
        live.verify(connection, untied, CREW)


def test_a_tree_that_names_a_tied_tensor_twice(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        twice = base.changed("embed.weight")
        twice.raw["head.weight"] = twice.raw["embed.weight"]
        head = replace(twice.tree["embed.weight"], name="head.weight")
        twice = replace(twice, tree=Tree([*twice.tree.values(), head]))
        update(connection, base, twice)
        assert live.verify(connection, twice.tree, CREW)[0] == ()
        update(connection, twice, base)
        assert live.verify(connection, base.tree, CREW)[0] == ()


def test_no_memory_for_the_stage(unchanged: tuple[live.Connection, Weights]) -> None:
    connection, base = unchanged
    after = base.changed()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(sealed.RoomError, match="There is no memory for the stage"):
            update(connection, base, after)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_no_memory_for_the_stage_in_the_engine(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        after = base.changed()
        wanted = change(connection, base, after)
        fd = stage(wanted, after)
        engine.ask("starve", kind="memory", room=1 << 20)
        with pytest.raises(RefusedError, match=r"no memory for the stage, .*Cannot") as no:
            connection.prepare(wanted, fd)
        assert no.value.kind == "RoomError"
        engine.ask("feed")
        assert connection.state().holder is None
        assert live.verify(connection, base.tree, CREW)[0] == ()
        update(connection, base, after)


@pytest.mark.parametrize("what", ["files", "memory"])
def test_an_engine_that_runs_out_of_something_answers_again(
    engine: EngineProcess, what: str
) -> None:
    """No descriptor for a client, and no thread."""
    with engine.connect() as connection, contextlib.ExitStack() as kept:
        base = held(connection)
        engine.ask("starve", kind=what)
        if what == "files":  # the kernel has one ready for the client it waits for
            kept.enter_context(engine.connect())
        for _ in range(3):
            with (
                pytest.raises(UnreachableError, match=r"timed out|has hung up"),
                live.connect(engine.name, engine.folder, 0.3) as another,
            ):
                another.state()
        connection.state()
        engine.ask("feed")
    with engine.connect() as connection:
        update(connection, base, base.changed())


def test_what_nobody_foresaw_is_said_in_words(tmp_path: Path) -> None:
    """The engine's model changes while it is looked at, for example."""

    class Odd(torch.nn.Linear):
        odd = False

        def named_modules(self, *arguments: Any, **named: Any) -> Any:
            if self.odd:
                raise RuntimeError("dictionary changed size during iteration")
            return super().named_modules(*arguments, **named)

    model, folder = Odd(3, 3), tmp_path / "engines"
    with pvc.share(model, "odd", folder=folder), live.connect("odd", folder) as connection:
        model.odd = True
        with pytest.raises(RefusedError, match="process failed: dictionary changed size") as no:
            connection.state()
        assert no.value.kind == "ControlError"
        model.odd = False
        assert connection.state().generation == 0


def test_too_little_address_space_to_read_an_engine(engine: EngineProcess) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with engine.connect() as connection:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(), before[1]))
        try:
            with pytest.raises(sealed.RoomError, match="no memory for the memory of the engine"):
                _ = connection.memories
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)


def test_a_step_that_does_not_end(unchanged: tuple[live.Connection, Weights], lasting: Any) -> None:
    connection, base = unchanged
    lasting.ask("patience", seconds=0.2)
    lasting.ask("wait", seconds=1.0)
    with pytest.raises(RefusedError, match=r"did not end within 0.2 seconds; nothing was written"):
        update(connection, base, base.changed("up.bias"))
    lasting.ask("patience", seconds=30)


def test_an_update_waits_for_a_step(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        engine.ask("wait", seconds=0.5)
        assert update(connection, base, base.changed("up.bias")).state.generation == 1


def test_torn_weights_pause_the_engine_until_they_are_repaired(start: Starter) -> None:
    """A child of the engine writes over what is checked out, whether a step is allowed or not."""
    engine = start("medium")
    engine.answer()
    with engine.connect() as connection:
        base = held(connection)
        refusal = None
        for _ in range(SCRIBBLES):  # the child may not get a turn between copy and verification
            before = held(connection)
            wanted = change(connection, before, before.changed())
            connection.prepare(wanted, stage(wanted, before.changed()))
            child = engine.ask("scribble")
            try:
                connection.commit()
            except RefusedError as error:
                refusal = error
                break
            finally:
                os.kill(child, signal.SIGKILL)
        assert refusal is not None
        assert refusal.kind == "TornError"
        assert "from what was written" in str(refusal)
        engine.ask("load")
        state = connection.state()
        assert "from what was written" in str(state.torn)
        assert state.origin is None
        engine.ask("wait", seconds=0)
        assert engine.ask("calls")["calls"] == 0
        update(connection, held(connection), base)
        assert connection.state().torn is None
        assert live.verify(connection, base.tree, CREW)[0] == ()
    assert not engine.ask("unload")["hung"]


def test_restarted_and_stale(start: Starter) -> None:
    engine = start()
    engine.answer()
    connection = engine.connect()
    base = held(connection)
    engine.kill()
    with pytest.raises(UnreachableError, match=f"process {engine.process.pid} has ended"):
        update(connection, base, base.changed())
    connection.close()
    assert (engine.folder / "chat.json").exists()
    with pytest.raises(
        EngineEndedError, match=f"was process {engine.process.pid}, which has ended"
    ):
        engine.connect()
    again = start()
    again.answer()
    with again.connect() as connection:
        state = connection.state()
        assert (state.origin, state.generation) == (None, 0)
        assert connection.manifest.process.pid == again.process.pid
    again.kill()
    assert live.engines(again.folder) == ()
    assert left(again.folder) == ["lock"]


def test_which_engine(start: Starter) -> None:
    first, second = start("other", "one"), start("other", "two")
    with pytest.raises(NoEngineError, match="No engine runs"):
        live.connect(None, first.folder)
    first.answer()
    second.answer()
    with pytest.raises(SeveralEnginesError, match="and none was named: one, two"):
        live.connect(None, first.folder)
    with pytest.raises(NoEngineError, match="No engine called three runs; running: one, two"):
        live.connect("three", first.folder)
    second.kill()
    with live.connect(None, first.folder) as connection:
        assert connection.name == "one"


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (b"\x05\x00\x00\x00hello", "it is not JSON"),
        (b"\x02\x00\x00\x00[]", "an object belongs where"),
        (b"\x02\x00\x00\x00{}", "its field request is missing"),
        (b'\x10\x00\x00\x00{"request":"me"}', "asks for 'me', which is unknown"),
        (b'\x1c\x00\x00\x00{"request":"state","x":true}', "unknown field 'x'"),
        (b"\xff\xff\xff\xff", "it has 4294967295 bytes"),
        (b'\x15\x00\x00\x00{"request":"prepare"}', "its field tree is missing"),
    ],
)
def test_messages_that_are_none(
    unchanged: tuple[live.Connection, Weights], sent: bytes, says: str
) -> None:
    connection, _ = unchanged
    connection._socket.sendall(sent)
    fields, _ = wire.receive(connection._socket, "engine")
    assert fields.text("error") == "MessageError"
    assert says in fields.text("message")
    with pytest.raises(wire.HungUpError):
        wire.receive(connection._socket, "engine")


def test_too_many_clients(unchanged: tuple[live.Connection, Weights], lasting: Any) -> None:
    """The one that is idle longest has to leave; one that asks again then reads so."""
    connection, _ = unchanged
    connection.state()
    many = [lasting.connect() for _ in range(15)]
    for one in many:
        one.state()
    with lasting.connect() as one:
        one.state()
    with pytest.raises(UnreachableError, match="has hung up"):
        connection.state()
    for one in many:
        one.close()
