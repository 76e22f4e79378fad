"""The merge methods on the command line: options for their parameters, and a list for the help."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli import numbers
from pvc.merge.methods import METHODS
from pvc.merge.parameters import Choice, Integer, Number, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

PARAMETERS = {
    **{one.name: one for method in METHODS.values() for one in method.parameters},
    **{one.name: one for method in METHODS.values() for one in method.offered},
}
"""By name, in the order in which they are first met."""


def parameter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each parameter; what is not given is None."""
    for parameter in reversed(PARAMETERS.values()):
        command = _option(parameter)(command)
    return command


def listed() -> str:
    """The methods, a line each."""
    width = max(map(len, METHODS))
    lines = (f"  {method.name:<{width}}  {method.help}" for method in METHODS.values())
    return "\n".join(["\b\nMethods:", *lines])


def _option(parameter: Parameter) -> Callable[[Any], Any]:
    types: dict[type[Parameter], Any] = {
        Number: numbers.AnyNumber(),
        Integer: numbers.WholeNumber(),
    }
    choices = click.Choice(parameter.choices) if isinstance(parameter, Choice) else None
    return click.option(
        f"--{parameter.name}",
        parameter.name,
        type=choices or types[type(parameter)],
        metavar=parameter.metavar or None,
        help=f"{parameter.help} [{_defaults(parameter.name)}]",
    )


def _defaults(parameter: str) -> str:
    """Which methods have a parameter, and its defaults there."""
    methods: dict[str, list[str]] = {}
    for method in METHODS.values():
        for one in method.offered:
            if one.name == parameter:
                default = "" if one.default is None else f": {one.words(one.default)}"
                methods.setdefault(default, []).append(method.name)
    return "; ".join(", ".join(names) + default for default, names in methods.items())
