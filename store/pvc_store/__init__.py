"""The object store of pvc: bytes only, neither tensors as numbers nor git nor terminals.

    files, memory         a store in a directory, a store in memory
    store                 what every store can do
    tree, layout          complete sets of weights; how they come as files
    block, kinds          a block's stored form; how its bytes are to be read
    pack, index           many blocks in one file; where a block lies
    ids, errors           names of stored things; the error tree

Nothing is imported here, so that a command which needs only names of errors starts at once.
"""
