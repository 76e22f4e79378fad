"""Use cases of engines with a repository: checkout, commit, verify, restore and status.

`engine_content` finds out which tree an engine has: its own word, the repository's record, or its
content.  `checkout` refuses to overwrite weights that the repository could not restore, or keeps
them at a tag first (`rescue`); it updates the engine from its tree to the new one
(`engine_update`), and moves HEAD last.  `restore` does the same to the tree of the record.
`commit` is the repository's own commit with `commit_source` in place of a checkpoint.  `verify`
compares every block, and names what is held instead (`known_trees`); `status` believes what engines
say.  `choice` finds the engine that is meant if none is named.

The command line, `pvc.api` and `pvc status` call this.
Tests: tests/live/commands/.
"""
