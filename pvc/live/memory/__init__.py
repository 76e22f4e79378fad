"""Memory of weights: shared between processes, sealed by the kernel, read and written by pieces.

`sealed` makes memory without a name: weights that only their process can write, and stages that
nobody can write any more.  `host` reads blocks of tensors that lie in it, joins the parts that
ranks have, and computes their keys; it also writes pieces.  `cuda` does the same on a GPU, whose
memory other processes open by the driver's handles.  Engines write, clients only read.

`engine.writer`, `client.reading`, `client.updating`, `pytorch.storages` and vLLM's ranks use this.
Tests: tests/live/memory/.
"""
