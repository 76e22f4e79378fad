"""Merging: small pure functions over one block of one or more task vectors.

    arithmetic   differences, sums of scaled vectors
    trim         the magnitude of a rank, found exactly and without sorting
    dialect      what the rules differ in that go by the name of TIES
    ties         TIES: elect a sign for each element, average those that have it
    geometry     how two vectors lie to each other: norms, cosine, conflicts

A block of tau is a contiguous one-dimensional array of float32 or float64; the taus of k vectors
are the rows of one (k, n) array.  Every element is computed alone, or in an order that does not
depend on threads, with separate multiplications and additions: the bits are the same everywhere.

Limits: nothing here reads files or knows tensors.  Which NaN comes out differs between processors;
`pvc.codec.numbers.from_numbers` makes all of them one.
"""
