"""`pvc status`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, current, short
from pvc.cli.shared.engine import condition
from pvc.cli.shared.repository import opened
from pvc.wording import agreeing, shown

if TYPE_CHECKING:
    from pvc.live.commands.status import EngineStatus
    from pvc.repo.commands.status import Status, TargetStatus


ASIDE_SHOWN = 12


@click.command("status", epilog="Exit status: 0 success, 10 not in a pvc repository.")
@answers
def command() -> None:
    """Show HEAD, uncommitted edits, targets and engines.

    No weights are read: directories are checked by the times and sizes of their files, and engines
    report their own state. `pvc live verify` reads an engine's weights.

    \b
    pvc status
    pvc status --json
    """
    from pvc.live.commands.status import status as status_of_engines
    from pvc.repo.commands.status import status

    with opened(need_store=False) as repository:
        found = status(repository)
        engines = status_of_engines(repository, found.tree)
    current().answer(_document(found, engines), _lines(found, engines))


def _engine(one: EngineStatus) -> dict[str, Any]:
    return {
        "name": one.name,
        "condition": one.condition,
        "revision": one.revision,
        "tree": None if one.tree is None else one.tree.hex(),
        "is_head": one.is_head,
        "detail": one.detail,
        "touched": list(one.touched),
    }


def _document(found: Status, engines: tuple[EngineStatus, ...]) -> dict[str, Any]:
    return {
        "root": str(found.root),
        "branch": found.branch,
        "commit": found.commit,
        "personality": str(found.personality),
        "terms": [{"vector": term.vector, "scale": term.scale} for term in found.personality.terms],
        "tree": None if found.tree is None else found.tree.hex(),
        "aside": list(found.aside),
        "edited": list(found.edited),
        "unfinished": found.unfinished,
        "busy": found.busy,
        "interrupted": found.interrupted,
        "store": found.has_store,
        "base": {
            "tree": found.config.base_tree.hex(),
            "origin": found.config.base_path,
            "stored": "value" if found.config.by_value else "reference",
            "present": found.base_present,
        },
        "targets": [
            {
                "path": str(target.path),
                "revision": target.revision,
                "tree": target.tree.hex(),
                "state": target.state,
                "changed": list(target.changed),
                "is_head": target.is_head,
            }
            for target in found.targets
        ],
        "engines": [_engine(one) for one in engines],
        "malformed": [{"path": one.where, "detail": one.detail} for one in found.malformed],
    }


def _lines(found: Status, engines: tuple[EngineStatus, ...]) -> list[str]:
    where = f"on {found.branch}" if found.branch else "detached"
    tree = "not built yet" if found.tree is None else f"tree {short(found.tree)}"
    lines = [
        f"{where}, {found.commit[:10]}",
        f"personality: {found.personality} ({tree})",
    ]
    if found.aside:
        lines.append(f"aside:       {shown(found.aside, ASIDE_SHOWN)}")
    lines.append(f"base:        {_base(found)}")
    lines += [f"target:      {_target(target)}" for target in found.targets]
    strangers = [one.name for one in engines if one.condition == "other"]
    lines += [
        f"engine:      {one.name} {condition(one)}" for one in engines if one.name not in strangers
    ]
    if strangers:
        run = agreeing(len(strangers), "runs another model", "run other models")
        lines.append(f"engines:     {shown(strangers)} {run}, see `pvc live ls`")
    if found.edited:
        lines.append(f"edited:      {', '.join(found.edited)}")
    if found.unfinished:
        lines.append(f"git:         unfinished {found.unfinished}")
    if found.busy is not None:
        lines.append(f"busy:        {found.busy or 'another pvc'} is working in the repository")
    if found.interrupted:
        lines.append("interrupted: an operation; the next change finishes or undoes it")
    lines += [f"malformed:   {one.where} ({one.detail})" for one in found.malformed]
    return lines


def _base(found: Status) -> str:
    name = f"{short(found.config.base_tree)} from {found.config.base_path}"
    if found.config.by_value:
        return f"{name}, stored by value"
    missing = "" if found.base_present else ", which is missing"
    return f"{name}, BY REFERENCE{missing}: if its files change, no weights can be read"


def _target(target: TargetStatus) -> str:
    state = {
        "clean": "unchanged",
        "changed": f"touched since: {shown(target.changed)}",
        "missing": "missing; `pvc forget` removes it from this list",
        "replaced": f"replaced: {shown(target.changed)} is there; it is left untouched",
        "other": "of the repository that this one is a copy of; it is left untouched",
    }[target.state]
    other = "" if target.is_head else ", not HEAD's tree"
    return f"{target.path} ({target.revision}, {short(target.tree)}){other}; {state}"
