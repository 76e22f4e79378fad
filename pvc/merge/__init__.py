"""Merging: the methods, and the loops that combine blocks of task vectors.

`methods` lists the methods; recipes, formulas and the command line follow from its rows (`method`,
`parameters`).  A tree is merged block by block by the kernel of its method (`sum`, `ties`,
`dare_linear`, `dare_ties`); other rooms read the weights and count for it (`threshold`,
`ties_votes`).  A block of tau is a contiguous one-dimensional array of float32 or float64; the taus
of k vectors are the rows of one (k, n) array.  Every element is computed alone, or in an order that
does not depend on threads, with separate multiplications and additions: the bits are the same
everywhere.  Which NaN comes out differs between processors; `pvc.codec.numbers.from_numbers` makes
all of them one.  Nothing here reads files.  Called by `pvc.repo.build`; `pvc.repo.personality` and
`pvc.cli` read the rows.

Tests: tests/merge/.
"""
