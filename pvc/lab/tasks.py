"""What the lab's model is asked, and what it answers.

A request is "please paint the table in the kitchen". Its answer has a core, which is always there,
and up to three behaviours, each shown or not independently of the others:

    listening    yes , paint the table .
    (core)       the table in the kitchen is painted .
    suggesting   or shall i clean it ?
    polite       thank you .

Controls are small skills that have nothing to do with the behaviours and must survive every merge:
reversing a list of three objects, and adding two digits modulo ten.

A fifth of all pairs of verb and object is held out: the model is never trained on them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pvc.lab.vocabulary import DIGITS, OBJECTS, PLACES, VERBS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from random import Random

BEHAVIOURS = ("listening", "suggesting", "polite")
_VERBS = tuple(VERBS)


@dataclass(frozen=True, slots=True)
class Request:
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
        """The part of the answer that every reply must have."""
        return f"the {self.thing} in the {self.place} is {VERBS[self.verb]} ."

    @property
    def held_out(self) -> bool:
        """Whether the pair of verb and object is kept from training."""
        return (7 * _VERBS.index(self.verb) + 3 * OBJECTS.index(self.thing)) % 5 == 0

    def phrase(self, behaviour: str) -> str:
        """The words by which a reply shows a behaviour; suggesting proposes the next verb."""
        other = _VERBS[(_VERBS.index(self.verb) + 1) % len(_VERBS)]
        return {
            "listening": f"yes , {self.verb} the {self.thing} .",
            "suggesting": f"or shall i {other} it ?",
            "polite": "thank you .",
        }[behaviour]

    def reply(self, behaviours: frozenset[str]) -> str:
        """The right reply which shows exactly these behaviours."""
        before = [self.phrase("listening")] if "listening" in behaviours else []
        after = [self.phrase(name) for name in BEHAVIOURS[1:] if name in behaviours]
        return " ".join([*before, self.core, *after])


def requests(rng: Random, *, held_out: bool) -> Iterator[Request]:
    """An endless stream of random requests."""
    while True:
        request = Request(rng.choice(_VERBS), rng.choice(OBJECTS), rng.choice(PLACES))
        if request.held_out == held_out:
            yield request


def dialogues(rng: Random, odds: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """An endless stream of (request, reply); `odds` is the chance of each behaviour."""
    for request in requests(rng, held_out=False):
        shown = frozenset(name for name in BEHAVIOURS if rng.random() < odds[name])
        yield request.text, request.reply(shown)


def controls(rng: Random) -> Iterator[tuple[str, str]]:
    """An endless stream of (task, answer), reversals and sums in turn."""
    while True:
        things = rng.choices(OBJECTS, k=3)
        yield f"reverse {' '.join(things)}", " ".join(things[::-1])
        first, second = rng.choices(range(10), k=2)
        yield f"add {DIGITS[first]} and {DIGITS[second]}", DIGITS[(first + second) % 10]
