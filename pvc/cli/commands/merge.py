"""`pvc merge`."""

from __future__ import annotations

from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import click

from pvc.cli.output import answers, columns, current, share
from pvc.cli.progress import crew, threads_option
from pvc.cli.shared.edited import document as edited_document
from pvc.cli.shared.edited import lines as edited_lines
from pvc.cli.shared.merge_methods import PARAMETERS, listed, parameter_options
from pvc.cli.shared.repository import REVISION, opened
from pvc.merge.methods import METHODS
from pvc.wording import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pvc.repo.commands.combine import Combined
    from pvc.repo.commands.three_way import Side
    from pvc.repo.personality.vector import Recipe
    from pvc.repo.repository import Repository


METHOD = "sum"


@click.command(
    "merge",
    epilog="Exit status: 0 success, 1 nothing changed, or a conflict, 2 the method has no such "
    "parameter or does not allow its value, 14 no such name, or the name is taken, 17 uncommitted "
    "edits, 19 the weights cannot be computed.",
)
@click.argument("names", type=REVISION, nargs=-1, metavar="[NAME]...|BRANCH")
@click.option(
    "--method",
    type=click.Choice(list(METHODS)),
    help=f"How to combine vectors. Default: {METHOD}.",
)
@click.option("--sum", "by_sum", is_flag=True, help=METHODS["sum"].help)
@click.option("--ties", "by_ties", is_flag=True, help=METHODS["ties"].help)
@parameter_options
@click.option(
    "-o", "new", metavar="NEW", help="Store the result as vector NEW without applying it."
)
@click.option("--ours", is_flag=True, help="Resolve conflicts with HEAD's side.")
@click.option("--theirs", is_flag=True, help="Resolve conflicts with BRANCH's side.")
@click.option("-m", "--message", help="Commit message for the merge of BRANCH.")
@click.option("--abort", is_flag=True, help="Abort the unfinished merge.")
@threads_option
@answers
def command(
    names: tuple[str, ...],
    threads: int | None,
    *,
    abort: bool,
    by_sum: bool,
    by_ties: bool,
    ours: bool,
    theirs: bool,
    message: str | None,
    **how: Any,
) -> None:
    """Combine vectors into one, or merge a branch.

    The combined vector replaces the terms of the named ones; without names, it replaces all terms.

    A branch is merged term by term and vector by vector. If both sides changed the same one in
    different ways, that is a conflict: choose a side with --ours or --theirs, or edit the files and
    conclude with `pvc commit -m MESSAGE`.

    \b
    pvc merge --ties listening brevity -o calm
    pvc merge --sum
    pvc merge --method dare_linear --density 0.3 listening brevity
    pvc merge experiment --theirs
    """
    how["method"] = _one_of(
        {"--sum": by_sum and "sum", "--ties": by_ties and "ties", "--method": how["method"]}
    )
    favour: Side | None = _one_of({"--ours": ours and "ours", "--theirs": theirs and "theirs"})
    of_vectors = any(value is not None for value in how.values())
    of_branch = favour is not None or message is not None
    if abort:
        if names or of_vectors or of_branch:
            raise click.UsageError("--abort takes no other arguments.")
        _abort()
        return
    with opened() as repository:
        branch = len(names) == 1 and not of_vectors and names[0] not in repository.head().names
        if of_branch and not branch:
            raise click.UsageError("--ours, --theirs and -m are only for merging one BRANCH.")
        if branch:
            _branch(repository, names[0], favour, message)
        else:
            _vectors(repository, names, threads, how)


def _one_of(options: Mapping[str, Any]) -> Any:
    """The value of the one option that was given, or None; two that differ are refused."""
    given = {name: value for name, value in options.items() if value}
    if len(set(given.values())) > 1:
        raise click.UsageError(f"{' and '.join(given)} cannot be combined.")
    return next(iter(given.values()), None)


def _abort() -> None:
    from pvc.repo.commands.merge_branch import abort

    with opened() as repository:
        abort(repository)
        head = repository.head()
        answer = {"commit": head.commit, "personality": str(head.personality)}
        current().answer(answer, [f"[{head.commit[:10]}] {head.personality}"])


def _branch(repository: Repository, name: str, favour: Side | None, message: str | None) -> None:
    from pvc.cli.shared.edited import answer
    from pvc.repo.commands.merge_branch import merge_branch

    answer(merge_branch(repository, name, favour, message))


def _vectors(
    repository: Repository, names: tuple[str, ...], threads: int | None, how: dict[str, Any]
) -> None:
    from pvc.repo.commands.combine import Combination, combine

    given = {name: how[name] for name in PARAMETERS if how[name] is not None}
    wish = Combination(names, how["method"] or METHOD, given, how["new"])
    with crew(current(), threads) as workers:
        done = combine(repository, wish, workers)
    _warn(done.vector.recipe)
    _answer(done)


def _warn(recipe: Recipe) -> None:
    """Warn of negative scales where a rule divides by them, so that their signs cancel."""
    negative = [term.vector for term in recipe.terms if term.scale < 0]
    if negative and recipe.rule.effect.divides:
        rule = f"{recipe.rule.method.name} ({', '.join(recipe.rule.words)})"
        current().warn(
            f"{rule} divides by scales, and those of {shown(negative)} are negative: elements "
            "where only such vectors agree are added, not subtracted"
        )


def _answer(done: Combined) -> None:
    from pvc.cli.shared.vector import document as vector_document

    edited, trim = done.edited, done.trim
    document: dict[str, Any] = {**edited_document(edited)}
    document["vector"] = vector_document(done.name, done.vector)
    lines = edited_lines(edited)
    if trim is not None:
        names = [term.vector for term in done.vector.recipe.terms]
        document["conflicts"] = [list(row) for row in trim.conflicts]
        rows = [("vector", "kept", "outvoted", *(f"against {name}" for name in names))]
        for name, kept, outvoted, row in zip(
            names, trim.kept, trim.outvoted, trim.conflicts, strict=True
        ):
            against = (share(count, kept) for count in row)
            rows.append((name, share(kept, trim.elements), share(outvoted, kept), *against))
        lines += columns(rows, indent="  ")
    current().answer(document, lines)


command.help = f"{cleandoc(command.help or '')}\n\n{listed()}"
