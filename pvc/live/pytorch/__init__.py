"""Engines of PyTorch: the weights of a model move into shared memory and stay its parameters.

`share` makes an engine of a model.  `placement` sorts its tensors by storage, and refuses what
cannot be shared; `storages` moves the host's storages into one sealed memory, and exports a GPU's
where they are.  Parameters stay the objects that they are, with ties, strides and gradients.
`watch` counts what torch writes to them, and notices if one leaves the shared memory.  Every call
of the model is a step.

Programs call `pvc.share`; `pvc serve` does; vLLM's workers use all but `share`.
Tests: tests/live/pytorch/.
"""
