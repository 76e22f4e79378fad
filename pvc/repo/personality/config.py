"""`pvc.toml`: which base a repository is relative to.  People edit it; pvc writes it once."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pvc.errors import MalformedError
from pvc_store.ids import IdError, parse_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import UnionType

PATH = "pvc.toml"
FORMAT = 1
MAX_GIGABYTES = 10**9

_KINDS: dict[type | UnionType, str] = {dict: "a table", int: "a whole number", str: "text"}

_TEMPLATE = """\
# The base that everything in this repository is relative to.
[repository]
format = {format}

[base]
tree = "{tree}"
layout = "{layout}"
origin = {origin}
stored = "{stored}"
"""


class ConfigError(MalformedError):
    """`pvc.toml` is malformed."""


@dataclass(frozen=True, slots=True)
class Config:
    """What `pvc.toml` says.

    Attributes:
        base_tree: tree id of the base.
        base_layout: how the base came as files.
        base_path: the directory it was read from, for people and as the fast path.
        by_value: whether the base's bytes are in the store.
        built_limit: bytes that built trees may take in the store; None leaves that to pvc.
        commit_onto: what a result was trained from, if nothing tells: "base", "HEAD", or None.
    """

    base_tree: bytes
    base_layout: bytes
    base_path: str
    by_value: bool
    built_limit: int | None = None
    commit_onto: str | None = None

    def to_text(self) -> str:
        """The file as pvc writes it."""
        import tomlkit

        return _TEMPLATE.format(
            format=FORMAT,
            tree=self.base_tree.hex(),
            layout=self.base_layout.hex(),
            origin=tomlkit.item(self.base_path).as_string(),
            stored="value" if self.by_value else "reference",
        )

    @classmethod
    def parse(cls, text: str, where: str = PATH) -> Config:
        """Read the file strictly.

        Raises:
            ConfigError: it is not TOML, lacks something, holds the unknown, or is newer.
        """
        try:
            document = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(where, f"it is not TOML ({error})") from None
        limit = _built_limit(document.pop("build", None), where)
        onto = _commit_onto(document.pop("commit", None), where)
        tables = _exactly(document, {"repository": dict, "base": dict}, where)
        repository = _exactly(tables["repository"], {"format": int}, f"{where} [repository]")
        if repository["format"] != FORMAT:
            raise ConfigError(where, f"its format is {repository['format']}, {FORMAT} is known")
        texts = {"tree": str, "layout": str, "origin": str, "stored": str}
        base = _exactly(tables["base"], texts, f"{where} [base]")
        if base["stored"] not in {"value", "reference"}:
            raise ConfigError(where, f"stored is {base['stored']!r}, not 'value' or 'reference'")
        if not base["origin"] or "\0" in base["origin"]:
            raise ConfigError(where, f"origin is {base['origin']!r}, not a path")
        try:
            tree, layout = parse_id(base["tree"]), parse_id(base["layout"])
        except IdError as error:
            raise ConfigError(where, f"its base has no id ({error})") from None
        return cls(tree, layout, base["origin"], base["stored"] == "value", limit, onto)


def _built_limit(table: object, where: str) -> int | None:
    """Bytes, from the gigabytes that the table [build] gives."""
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError(where, f"build is {table!r}, not a table")
    number = _exactly(table, {"cache_gb": int | float}, f"{where} [build]")["cache_gb"]
    if not 0 <= number <= MAX_GIGABYTES:  # which NaN is not, either
        raise ConfigError(where, f"cache_gb is {number!r}, not between 0 and {MAX_GIGABYTES}")
    return int(number * 10**9)


def _commit_onto(table: object, where: str) -> str | None:
    """What the table [commit] says that results are trained from."""
    if table is None:
        return None
    if not isinstance(table, dict):
        raise ConfigError(where, f"commit is {table!r}, not a table")
    onto = _exactly(table, {"onto": str}, f"{where} [commit]")["onto"]
    if onto not in {"base", "HEAD"}:
        raise ConfigError(where, f"onto is {onto!r}, not 'base' or 'HEAD'")
    return str(onto)


def _exactly(
    table: dict[str, Any], kinds: Mapping[str, type | UnionType], where: str
) -> dict[str, Any]:
    """The table, if it has these keys with values of these types, and no others."""
    unknown = sorted(set(table) - set(kinds))
    if unknown:
        raise ConfigError(where, f"it holds {unknown[0]!r}, which has no meaning here")
    for name, kind in kinds.items():
        if name not in table:
            raise ConfigError(where, f"{name} is missing")
        value = table[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ConfigError(where, f"{name} is {value!r}, not {_KINDS.get(kind, 'a number')}")
    return table
