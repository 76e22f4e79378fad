"""Rescue: the weights of an engine are kept before they are overwritten.

The weights are captured as a vector from the base, in a commit of their own upon HEAD's, to which a
tag points; its personality is the base and this vector, and so just these weights.  No branch
moves.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pvc.repo.commands.checkout import Rescue
from pvc.repo.history.recording import note_quietly
from pvc.repo.personality import personality_file
from pvc.repo.personality.formula import Built
from pvc.repo.personality.personality_file import Personality, Term
from pvc.repo.personality.vector import CapturedVector
from pvc.repo.trees.capture import CaptureOptions

if TYPE_CHECKING:
    from pvc.live.commands.commit_source import OpenEngine
    from pvc.parallel import Crew
    from pvc.repo.repository import Repository


def rescue(repository: Repository, source: OpenEngine, crew: Crew) -> Rescue:
    """Keep the weights of an engine; the repository is locked.

    Raises:
        UnsteadyError: its weights change all the time.
    """
    head = repository.head()
    store = repository.store
    base = store.tree(head.config.base_tree)
    with store.writing() as writing, repository.blocks(head.config, writing) as blocks:
        goal = CaptureOptions(base, repository.norms.read(base))
        captured = source.capture(blocks, writing, goal, crew)
        writing.put_tree(captured.tree, base)
        writing.put_layout(captured.layout)
        statistics = captured.statistics(writing.stored_bytes)
    tag, name = _free_names(repository, source.engine)
    vector = CapturedVector(
        base=base.id,
        from_tree=base.id,
        to_tree=captured.tree.id,
        layout=captured.layout.id,
        statistics=statistics,
        provenance=(("origin", source.where),),
    )
    alone = head.with_files({personality_file.PATH: None}).with_personality(
        Personality((Term(name),))
    )
    files = alone.with_vector(name, vector).changes
    message = f"{name}: what {source.where} held before it was overwritten"
    commit = repository.git.write_commit(files, message, repository.folder)
    note_quietly(repository, commit, Built(captured.tree.id, captured.layout.id))
    repository.git.run("tag", "--", tag, commit)
    return Rescue(tag, name, captured.tree.id)


def _free_names(repository: Repository, engine: str) -> tuple[str, str]:
    """A tag and a vector by the engine's name and the time, which nothing is called yet."""
    time = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    tag, count = f"rescue/{engine}-{time}", 1
    while repository.git.is_ref(tag):
        count += 1
        tag = f"rescue/{engine}-{time}-{count}"
    return tag, re.sub(r"[^A-Za-z0-9]+", "_", tag)
