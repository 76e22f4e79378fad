"""What engines and clients tell each other: manifest, state, updates, and the messages themselves.

`manifest` says which tensors an engine has, and where in its memory: `region` has the arithmetic of
strides.  `engine_state` says where its weights come from, and whether its steps may go on.
`update` names the blocks of a change, with their keys before and after.  `applied_tensors` says
what was last written to tensors that cannot be read.  `process` names a process so that no other
is taken for it.  `wire` frames messages: a length, JSON, and descriptors; all are read strictly.

Every other room of `pvc.live` uses this; docs/format/engine-manifest.md describes it.
Tests: tests/live/protocol/.
"""
