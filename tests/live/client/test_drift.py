"""Weights that changed in the engine itself: seen, named, kept exactly, put right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pvc import live
from pvc.live.client.reading import UnsteadyError
from pvc.live.client.updating import DriftedEngineError
from tests.live.conftest import CREW, held, update

if TYPE_CHECKING:
    from tests.live.conftest import EngineProcess, Starter

THREE = ["down.weight", "turned", "up.bias"]


@pytest.mark.parametrize("silently", [False, True])
def test_three_tensors_that_drifted_are_named_and_put_right(start: Starter, silently: bool) -> None:
    """Also when torch does not count the change; only the state's flag depends on that."""
    engine = start("half")
    engine.answer()
    with engine.connect() as connection:
        base = held(connection)
        engine.ask("poke", names=THREE, silently=silently)
        drifted, state = live.verify(connection, base.tree, CREW)
        assert list(drifted) == THREE
        assert sorted(state.touched) == ([] if silently else THREE)
        with pytest.raises(DriftedEngineError) as caught:
            update(connection, base, base.changed())
        assert list(caught.value.names) == THREE
        now = held(connection)
        assert [name for name in base.tree if base.tree[name] != now.tree[name]] == THREE
        update(connection, now, base)
        drifted, state = live.verify(connection, base.tree, CREW)
        assert drifted == ()
        assert not state.dirty


def test_a_training_step_in_place(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        base = held(connection)
        engine.ask("train")
        drifted, state = live.verify(connection, base.tree, CREW)
        assert list(drifted) == ["down.weight", "embed.weight", "turned", "up.bias", "up.weight"]
        assert state.dirty
        trained = held(connection)
        update(connection, trained, base)
        update(connection, base, trained)
        assert live.content(connection, CREW)[0].id == trained.tree.id


def test_tied_tensors_are_one(engine: EngineProcess) -> None:
    engine.ask("poke", names=["head.weight"])
    with engine.connect() as connection:
        both = ["embed.weight", "head.weight"]
        tree, _ = live.content(connection, CREW, both)
        assert tree["embed.weight"].keys == tree["head.weight"].keys


def test_an_engine_that_changes_all_the_time_has_no_snapshot(engine: EngineProcess) -> None:
    with engine.connect() as connection:
        source = live.EngineTensors(connection)
        engine.ask("poke", names=["scale"])
        with pytest.raises(UnsteadyError, match=r"changed while they were read\.$"):
            source.check_unchanged()
        engine.ask("stir")
        with pytest.raises(UnsteadyError, match=r"changed while they were read, 5 times\.$"):
            live.content(connection, CREW)
