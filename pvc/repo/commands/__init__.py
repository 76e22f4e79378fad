"""The use cases of pvc, one for each command, with a module of the command's name.

A use case takes an open repository and plain values, and returns a frozen dataclass; it prints
nothing.  One that changes something works in this order:

1. the repository is locked, and an operation that was cut short is finished or undone;
2. all that can be refused is refused, before anything is computed;
3. weights are computed, stored, or written to a target, and verified;
4. HEAD moves, under the journal; then records are saved and the journal ends.

`commit` is split into source, origin and action; `checkout` into target and transaction; the small
edits of text files (`remove`, `rename`, `revert`, ...) share `editing`.  Called by `pvc.cli`,
`pvc.api` and, for engines, `pvc.live.commands`.

Tests: tests/repo/commands/.
"""
