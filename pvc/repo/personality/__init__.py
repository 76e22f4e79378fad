"""Personalities and vectors: the text files, and what they stand for.

People and pvc write `pvc.toml` (`config`), `personality.toml` (`personality_file`) and
`vectors/NAME.json` (`vector`, `vector_file`, `vector_names`); people also type sums
(`expression`).  From them to what can be computed:

1. `resolve` follows the names of one commit to captured vectors and merge methods.
2. `formula` keeps what is left: a stored tree to start from, and parts to add.  While a part starts
   at the tree reached so far, it is followed instead of added, and no arithmetic is needed.
3. The formula's digest finds what was computed before; `formula_file` writes it down.

Nothing here reads weights or speaks git.  Called by `pvc.repo.snapshot` and everything above it.

Tests: tests/repo/personality/.
"""
