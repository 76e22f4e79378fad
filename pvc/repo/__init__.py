"""Repositories: versions of weights, kept in git and in the store beside it.

The rooms, from top to bottom; each imports only those below it:

    commands      the use cases: one for each command
    upkeep        what refers to trees, what is broken, pruning
    build         from a formula to the tree that it comes to
    history       revisions, commits, the journal, recovery
    repository    an open repository; `snapshot` has its text files at a commit
    targets       directories that weights are written to, and records of all targets
    trees         weights as blocks in the store
    personality   vectors, personalities and formulas: no bytes of weights
    git           the only room that speaks git

Nothing is imported here: commands that read no weights start without numpy and numba.

Tests: tests/repo/.
"""
