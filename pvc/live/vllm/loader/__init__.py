"""Tensors that vLLM keeps in another form than the checkpoint: changed by the model's own loader.

On CPUs vLLM packs experts, convolutions and, if it is told to, linear weights; and it converts all
weights where a model runs in another dtype.  Such tensors cannot be read or written in place.  They
are changed by loading them again: their modules get empty parameters, the model's loader fills
them, vLLM processes them as it did at first, and the result is copied to where the weights lie.
A module is processed as a whole, so the tensors that are loaded into it form a group.  What was
loaded last is remembered, since it cannot be read back.  Each group is tried out when the engine
starts; what does not come out bit for bit as it is, and everything on GPUs, is refused.

The other rooms know `ModelLoader`, which finds these tensors, and `IndirectTensors`, which
prepares, commits, drops and remembers what is loaded; `VllmModules` has what vLLM does.
Tests: tests/live/vllm/loader/.
"""
