"""Engines that are vLLM: a worker of it shares its part of the weights and writes to it.

    attach                make an engine of an offline `vllm.LLM` (see offline)
    plugin, endpoint      what vLLM loads: in every process, and in its API server

In every worker:      binding > rank > part > trace, and for what is not direct
                      loading > indirect > refilling, original, grouping
In the one process that clients talk to:  offline | endpoint > attached > ranks > peer, and steps

Only `binding` imports vLLM, and says which versions of it.
"""
