"""The object store of pvc: bytes under names that follow from their content.

It keeps blocks of at most 1 MiB, trees (which tensors a set of weights consists of) and layouts
(which files they came as), and knows neither tensors as numbers nor git nor terminals.  A change
collects blocks in packs, in a folder of its own; at its end packs, layouts and trees become objects
of a backend, in this order, so that whatever is there is complete.  A block is found by its key in
an index of all packs, read with one access and checked before it is returned.  `pvc.repo` writes
commits and reads checkouts through `files.FileStore`; `memory.MemoryStore` is for tests.  `store`
says what every store does; file formats are in `pack`, `block`, `tree`, `layout` and `index`.
Nothing is imported here, so that a command which needs only names of errors starts at once.

Tests: tests/store/.
"""
