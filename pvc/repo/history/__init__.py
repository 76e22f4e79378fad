"""History: what revisions name, and how commits are made so that a crash loses nothing.

1. `revision` resolves a text to a commit, a vector, the base, or a sum of them.
2. `recording` commits changes of pvc's text files; `notes` has the tree noted on the commit.
3. Whatever spans several places is written to the `journal` first; HEAD moves after everything
   that it will refer to is durable; then records of targets are saved, and the journal ends.
4. `recovery` finishes or undoes an operation that was cut short.  HEAD decides which.

Called by the commands; every one that changes something calls `recovery.recover` first.

Tests: tests/repo/history/, tests/repo/crash/.
"""
