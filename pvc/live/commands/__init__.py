"""Use cases of engines: checkout, commit, verify and status, with a repository.

`engine_content` finds out which tree an engine has: its own word, the repository's record, or its
content.  `checkout` refuses to overwrite weights that the repository could not restore, or keeps
them at a tag first (`rescue`); it updates the engine from its tree to the new one, and moves HEAD
last.  `commit` is the repository's own commit with `commit_source` in place of a checkpoint.
`verify` compares every block; `status` believes what engines say.

The command line, `pvc.api` and `pvc status` call this.
Tests: tests/live/commands/.
"""
