"""Engines that are vLLM: every worker shares its part of the weights, and they change together.

vLLM loads `plugin` in every process, which registers the backend of `binding`; that makes a rank in
every worker as soon as the model is loaded.  In the process that clients talk to, `endpoint` (of a
server) or `offline` (of an `LLM`) lets the ranks connect, and announces a `VllmEngine`.  An update
goes from there to all ranks while `steps` pauses vLLM between two of its steps; then caches that
depend on old weights are reset.  `refusals` says which configurations cannot be shared.  Tensors
lie where vLLM's own loader put them (`tracing`); those that it changed go through it again
(`loader`).

`weights_header` marks the replies of a server.

Only `vllm_api` imports vLLM; `plugin` says which versions.
Tests: tests/live/vllm/.
"""
