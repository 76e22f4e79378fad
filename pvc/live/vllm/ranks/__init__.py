"""The ranks of a vLLM: each worker shares its part of the model, and they write together.

In a worker, `share_part` finds where the tensors of the checkpoint lie in its part of the model and
shares them; `rank` connects to the process that clients talk to, and prepares and commits there.
In that process, `meeting` waits until all have connected; `ranks` joins their manifests into one
(`joined_manifest`), and lets all prepare, then all commit; if one refuses to prepare, none writes.
`rank_connection` is one rank as seen from there.

`binding` makes a `Rank` in each worker; `offline` and `endpoint` meet them.
Tests: tests/live/vllm/ranks/.
"""
