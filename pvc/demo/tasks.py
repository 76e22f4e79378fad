"""The requests to the lab's model, and its replies.

A request is "please paint the table in the kitchen".  Its reply has a core, which is always there,
and up to three behaviours, each of them shown or not, independently of the others:

    listening    yes , paint the table .
    (core)       the table in the kitchen is painted
    polite       , thank you
                 .
    suggesting   or shall i clean it ?

Each behaviour is decided at a word of its own, and so none takes the place of another.

Controls are small skills that have nothing to do with the behaviours and must survive every merge:
reversing a list of three objects, and adding two digits modulo ten.

A fifth of all pairs of verb and object is held out: no model is ever trained on them.  The lists
and sums of the controls are not held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from pvc.demo.errors import DemoError
from pvc.demo.vocabulary import DIGITS, OBJECTS, PLACES, VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BEHAVIOURS = ("listening", "suggesting", "polite")
_VERBS = tuple(VERBS)


def unknown_behaviour(name: str) -> DemoError:
    """The error that a name is not that of a behaviour."""
    return DemoError(f"{name!r} is not a behaviour of the lab; it knows {', '.join(BEHAVIOURS)}.")


@dataclass(frozen=True, slots=True)
class LabRequest:
    """One request, by its three words."""

    verb: str
    thing: str
    place: str

    @property
    def text(self) -> str:
        """The request as the model reads it."""
        return f"please {self.verb} the {self.thing} in the {self.place}"

    @property
    def core(self) -> str:
        """The part of a reply that is always there."""
        return f"the {self.thing} in the {self.place} is {VERBS[self.verb]}"

    @property
    def held_out(self) -> bool:
        """Whether the pair of verb and object is kept from training."""
        return (7 * _VERBS.index(self.verb) + 3 * OBJECTS.index(self.thing)) % 5 == 0

    def phrase(self, behaviour: str) -> str:
        """The words by which a reply shows a behaviour; `suggesting` proposes the next verb.

        Raises:
            DemoError: the lab knows no behaviour of this name.
        """
        match behaviour:
            case "listening":
                return f"yes , {self.verb} the {self.thing} ."
            case "suggesting":
                following = _VERBS[(_VERBS.index(self.verb) + 1) % len(_VERBS)]
                return f"or shall i {following} it ?"
            case "polite":
                return ", thank you"
        raise unknown_behaviour(behaviour)

    def reply(self, behaviours: frozenset[str]) -> str:
        """The right reply that shows exactly these behaviours."""
        parts = {
            "listening": self.phrase("listening"),
            "core": self.core,
            "polite": self.phrase("polite"),
            "stop": ".",
            "suggesting": self.phrase("suggesting"),
        }
        return " ".join(parts[name] for name in parts if name in {*behaviours, "core", "stop"})


def chance(*purpose: object) -> Random:
    """Random numbers that depend on their purpose alone, such as ("base", seed)."""
    return Random(" ".join(map(str, purpose)))  # noqa: S311 - data, not secrets


def requests(rng: Random, *, held_out: bool) -> Iterator[LabRequest]:
    """An endless stream of random requests."""
    while True:
        request = LabRequest(rng.choice(_VERBS), rng.choice(OBJECTS), rng.choice(PLACES))
        if request.held_out == held_out:
            yield request


def dialogues(rng: Random, odds: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """An endless stream of (request, reply); `odds` holds the chance of each behaviour, 0 to 1."""
    for request in requests(rng, held_out=False):
        shown = frozenset(name for name in BEHAVIOURS if rng.random() < odds[name])
        yield request.text, request.reply(shown)


def controls(rng: Random) -> Iterator[tuple[str, str]]:
    """An endless stream of (task, answer): a reversal, a sum, a reversal, ..."""
    while True:
        things = rng.choices(OBJECTS, k=3)
        yield f"reverse {' '.join(things)}", " ".join(reversed(things))
        first, second = rng.choices(range(10), k=2)
        yield f"add {DIGITS[first]} and {DIGITS[second]}", DIGITS[(first + second) % 10]
