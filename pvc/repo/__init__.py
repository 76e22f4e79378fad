"""The use cases of pvc: what its commands do.  The only room that speaks git.

    repository     a git working tree and the store beside its history
    initialise, commit, checkout, diff, fsck, status, history, edits, refs
                   one module for each use case, or for a few small ones of a kind
    capture, blocks, outfile, directory
                   weights on their way into the store, and out of it
    personality, vector_file, config, target, built_trees, journal
                   the text files: what is kept in git, and what is kept beside it
    revision, build, origin, plan, terms
                   what names mean, and what a change will come to; no bytes of weights

Nothing is imported here: commands that read no weights start without numpy and numba.
"""
