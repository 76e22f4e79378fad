"""The table of merge methods in docs/format/vector.md: `python -m tests.merge.reference`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pvc.merge.methods import METHODS

if TYPE_CHECKING:
    from pvc.merge.parameters import Parameter


def table() -> str:
    """A row for each method."""
    rows = [
        f"| `{one.name}` | {one.help} | {', '.join(map(_parameter, one.offered))} | {one.paper} |"
        for one in METHODS.values()
    ]
    head = ["| method | | parameters | paper |", "|---|---|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def _parameter(parameter: Parameter) -> str:
    default = "" if parameter.default is None else f", else {parameter.words(parameter.default)}"
    return f"`{parameter.name}` ({parameter.allowed}{default})"


if __name__ == "__main__":
    print(table(), end="")  # noqa: T201
