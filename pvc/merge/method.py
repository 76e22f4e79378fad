"""What a merge method is, and a method with its parameters given.

Methods are listed in `pvc.merge.methods`.  Nothing here loads numpy or a kernel: commands that only
read recipes stay fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, TypeAlias

from pvc.errors import PvcError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from pvc.codec.numbers import Floats
    from pvc.merge.parameters import Parameter, Value
    from pvc.merge.ties_dialects import Trimming

FactsNeeded: TypeAlias = "Trimming"
"""What a method may have to know of the taus of a whole tensor or model before any block can be
combined.  Each sort of fact is a class that says what to find, and fields of `Facts`; they are
found by `pvc.repo.build`."""


class ParameterError(PvcError):
    """A merge method cannot be used with these parameters.

    Attributes:
        method: its name.
        reason: which parameter is wrong, and what is allowed.
    """

    def __init__(self, method: str, reason: str) -> None:
        self.method = method
        self.reason = reason
        super().__init__(f"Vectors cannot be merged by {method}: {reason}.")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found of the vectors before; a method finds here what it asked for.

    Attributes:
        thresholds: for each vector, the least |tau| that is kept in this tensor.
        zero_sum: the sign where votes add up to 0, 1 or -1.
    """

    thresholds: tuple[float, ...] = ()
    zero_sum: int = 1


@dataclass(frozen=True, slots=True)
class TauBlock:
    """The taus of k vectors at n consecutive elements of one tensor.

    Attributes:
        taus: shape (k, n), float32 or float64; the kernel may overwrite them.
        scales: shape (k,), float64.
        tensor: name of the tensor.
        first: index of the first element in the tensor, flattened.
        identity: of a row, 32 bytes that are its vector's own, whatever its name, scale and place
            among the rows are.
        facts: what the method asked for.
    """

    taus: Floats
    scales: NDArray[np.float64]
    tensor: str
    first: int
    identity: Callable[[int], bytes]
    facts: Facts


class Kernel(Protocol):
    """Combines blocks; safe for several threads."""

    def __call__(self, block: TauBlock, rule: Rule, out: Floats) -> None:
        """Write the combined tau of a block.

        The result depends on nothing but the arguments, element by element: it is the same however
        a tensor is cut into blocks.

        Args:
            block: the vectors.
            rule: the parameters.
            out: receives n numbers of the type of the taus.
        """
        ...


@dataclass(frozen=True, slots=True)
class ScaleEffect:
    """What the scales of the vectors do; by default nothing that a formula is simplified by.

    Attributes:
        factor: what the result is multiplied by; with 0 the combination is nothing.
        ignores_zero: whether a vector of scale 0 may be left out.
        is_linear: whether a vector twice as long at half the scale comes to the same.
        alone: of its scale, what a vector that is combined with no other is multiplied by, before
            the factor; None if more happens to it.
        divides: whether the result is divided by scales, so that their signs may cancel.
    """

    factor: float = 1.0
    ignores_zero: bool = False
    is_linear: bool = False
    alone: Callable[[float], float] | None = None
    divides: bool = False


def _no_effect(_: Rule) -> ScaleEffect:
    return ScaleEffect()


def _no_objection(_: Rule) -> str | None:
    return None


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Method:
    """A way to make one vector of several.

    Its kernel is the function `merge` of the module `pvc.merge.<name>`.

    Attributes:
        name: in recipes, and of the option.
        help: one sentence.
        paper: title, and arXiv id.
        parameters: in the order in which digests have them, optional ones last.
        effect: what scales do.
        facts: what the kernel has to know before; None if nothing.
        objection: why parameters do not fit together, each of them being allowed; None if they do.
    """

    name: str
    help: str
    paper: str
    parameters: tuple[Parameter, ...]
    effect: Callable[[Rule], ScaleEffect] = _no_effect
    facts: Callable[[Rule], FactsNeeded] | None = None
    objection: Callable[[Rule], str | None] = _no_objection

    def __repr__(self) -> str:
        return self.name

    @property
    def offered(self) -> tuple[Parameter, ...]:
        """The parameters that people can give."""
        return tuple(parameter for parameter in self.parameters if parameter.offered)

    @property
    def kernel(self) -> Kernel:
        """What combines blocks."""
        kernel: Kernel = import_module(f"pvc.merge.{self.name}").merge
        return kernel

    def rule(self, given: Mapping[str, Value] | None = None) -> Rule:
        """The method with some parameters given, and the others at their defaults.

        Raises:
            ParameterError: it has no such parameter, or a value is not allowed.
        """
        given = given or {}
        known = [parameter.name for parameter in self.offered]
        for name in given:
            if name not in known:
                raise ParameterError(self.name, f"it has no {name}; it has {', '.join(known)}")
        values = ((one.name, one.of(given.get(one.name, one.default))) for one in self.parameters)
        return Rule(self, tuple(values)).checked()


@dataclass(frozen=True, slots=True)
class Rule:
    """A method, and a value for each of its parameters.

    Attributes:
        method: the method.
        values: by name, in the method's order.
    """

    method: Method
    values: tuple[tuple[str, Value], ...]

    def __getitem__(self, name: str) -> Value:
        return dict(self.values)[name]

    def number(self, name: str) -> float:
        """The value of a `Number`."""
        value = self[name]
        if not isinstance(value, float):
            raise TypeError(f"{name} is {value!r}, not a float")
        return value

    def integer(self, name: str) -> int:
        """The value of an `Integer`."""
        value = self[name]
        if not isinstance(value, int):
            raise TypeError(f"{name} is {value!r}, not an int")
        return value

    def checked(self) -> Rule:
        """The rule itself.

        Raises:
            ParameterError: a value is not allowed, or values do not fit together.
        """
        for parameter in self.method.parameters:
            value = self[parameter.name]
            if not parameter.allows(value):
                reason = f"its {parameter.name} is {value!r}, not {parameter.allowed}"
                raise ParameterError(self.method.name, reason)
        objection = self.method.objection(self)
        if objection is not None:
            raise ParameterError(self.method.name, objection)
        return self

    @property
    def effect(self) -> ScaleEffect:
        """What scales do."""
        return self.method.effect(self)

    @property
    def facts(self) -> FactsNeeded | None:
        """What the kernel has to know before any block is combined."""
        return None if self.method.facts is None else self.method.facts(self)

    @property
    def words(self) -> list[str]:
        """The parameters for people, each as its name and value."""
        return [
            f"{parameter.name} {parameter.words(self[parameter.name])}"
            for parameter in self.method.offered
            if not (parameter.is_quiet and self[parameter.name] == parameter.default)
        ]


def linear(rule: Rule) -> ScaleEffect:
    """The effect of scales in lambda * (the sum of scale * tau)."""
    return ScaleEffect(rule.number("lambda"), ignores_zero=True, is_linear=True, alone=float)


def linear_in_parts(rule: Rule) -> ScaleEffect:
    """The same, if of each vector only the share that is its density is taken."""
    alone = float if rule["density"] == 1 else None
    return ScaleEffect(rule.number("lambda"), ignores_zero=True, is_linear=True, alone=alone)
