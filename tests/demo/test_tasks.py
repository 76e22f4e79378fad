from __future__ import annotations

from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pvc.demo.errors import DemoError
from pvc.demo.model import CONTEXT, LONGEST_REPLY
from pvc.demo.tasks import (
    BEHAVIOURS,
    LabRequest,
    chance,
    controls,
    dialogues,
    requests,
)
from pvc.demo.vocabulary import DIGITS, OBJECTS, PLACES, VERBS, encode, prompt

TABLE = LabRequest("paint", "table", "kitchen")

some_request = st.builds(
    LabRequest, st.sampled_from(list(VERBS)), st.sampled_from(OBJECTS), st.sampled_from(PLACES)
)
some_behaviours = st.frozensets(st.sampled_from(BEHAVIOURS))


def test_a_full_dialogue() -> None:
    assert TABLE.text == "please paint the table in the kitchen"
    assert TABLE.reply(frozenset(BEHAVIOURS)) == (
        "yes , paint the table . the table in the kitchen is painted , thank you ."
        " or shall i clean it ?"
    )


@given(some_request, some_behaviours)
def test_a_reply_shows_just_the_behaviours_asked_for(
    request: LabRequest, behaviours: frozenset[str]
) -> None:
    reply = request.reply(behaviours)
    assert {name for name in BEHAVIOURS if request.phrase(name) in reply} == behaviours
    assert request.core in reply


@given(some_request)
def test_the_longest_dialogue_fits(request: LabRequest) -> None:
    reply = encode(request.reply(frozenset(BEHAVIOURS)))
    assert len(reply) < LONGEST_REPLY
    assert len(prompt(request.text)) + LONGEST_REPLY <= CONTEXT


@given(some_request)
def test_the_alternative_is_another_verb(request: LabRequest) -> None:
    assert f" {request.verb} " not in request.phrase("suggesting")


def test_an_unknown_behaviour_is_named() -> None:
    with pytest.raises(DemoError, match="'loud' is not a behaviour"):
        TABLE.phrase("loud")


def test_a_fifth_of_the_pairs_is_held_out() -> None:
    pairs = [LabRequest(verb, thing, "hall").held_out for verb, thing in product(VERBS, OBJECTS)]
    assert sum(pairs) / len(pairs) == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize("held_out", [True, False])
def test_a_stream_keeps_to_its_side(*, held_out: bool) -> None:
    stream = list(islice(requests(chance("side"), held_out=held_out), 300))
    assert {request.held_out for request in stream} == {held_out}


def test_training_never_sees_what_is_held_out() -> None:
    held_out = {request.text for request in islice(requests(chance(1), held_out=True), 3000)}
    trained = {
        text for text, _ in islice(dialogues(chance(2), dict.fromkeys(BEHAVIOURS, 0.5)), 3000)
    }
    assert not held_out & trained


def test_behaviours_are_shown_by_their_odds_and_independently() -> None:
    odds = {"listening": 0.3, "suggesting": 0.5, "polite": 0.8}
    rows = [reply for _, reply in islice(dialogues(chance("odds"), odds), 4000)]
    marks = {"listening": "yes", "suggesting": "or", "polite": "thank"}
    shown = {name: [mark in row.split() for row in rows] for name, mark in marks.items()}
    for name, chance_of in odds.items():
        assert sum(shown[name]) / len(rows) == pytest.approx(chance_of, abs=0.04)
    for one, other in [BEHAVIOURS[:2], BEHAVIOURS[1:], BEHAVIOURS[::2]]:
        both = sum(a and b for a, b in zip(shown[one], shown[other], strict=True))
        assert both / len(rows) == pytest.approx(odds[one] * odds[other], abs=0.04)


def test_odds_of_nought_and_one_are_certain() -> None:
    odds = {"listening": 0.0, "suggesting": 1.0, "polite": 0.0}
    for _, reply in islice(dialogues(chance("certain"), odds), 100):
        assert reply.startswith("the ")
        assert reply.endswith(" ?")
        assert "thank" not in reply


def test_controls_are_right() -> None:
    for number, (task, answer) in enumerate(islice(controls(chance("controls")), 200)):
        words = task.split()
        if number % 2 == 0:
            assert words[0] == "reverse"
            assert words[:0:-1] == answer.split()
        else:
            total = DIGITS.index(words[1]) + DIGITS.index(words[3])
            assert answer == DIGITS[total % 10]


def test_chance_depends_on_its_purpose_alone() -> None:
    assert chance("base", 0).random() == chance("base", 0).random()
    assert chance("base", 0).random() != chance("base", 1).random()
