"""Shared by several commands: options, arguments, and output of the same kind.

    repository   the repository of a command; completion of revisions and names
    engine       --live, the connection to an engine, its status as text
    vector       a vector as text and as JSON
    edited       the result of a change to the text files
    references   the results of `pvc branch` and `pvc tag`

Commands import what they need of it; it imports no command.

Tests: tests/cli/.
"""
