"""From a formula to a tree: what is computed, and found again.

A formula is a stored tree and vectors to add to it. `builds` looks whether its tree is stored or
was computed before (`build_cache`). If not:

1. `tensor_routes` decides for each tensor: stored already, or computed, which it refuses for
   quantised ones (`base_config` reads what the base says of itself).
2. `merge_facts` finds what a merge method needs to know of a whole tensor or model before any
   block can be combined; `threshold_passes` reads the taus for it.
3. `compute` goes through the tensors block by block, on all threads: `taus` decodes the blocks and
   calls the kernels of `pvc.merge`; the sum is rounded once and goes to the store or to a file.

`labels` says of a tree that was checked out whether its branch has moved on.

Called by the commands that check out, build, commit and compare, and by engines' checkouts.

Tests: tests/repo/build/.
"""
