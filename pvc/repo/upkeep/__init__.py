"""Upkeep: what the store has to keep, and what can go.

1. `roots` reads every manifest that git still reaches and the record of every target, and lists
   the trees and layouts that they refer to; what cannot be read becomes a finding (`findings`),
   and so does a derived vector that cannot be resolved (`recipes`).
2. `prune_builds` removes built trees, the longest unused first, until the rest is within a limit,
   and only packs of which no root and no built tree that stays needs a block.

Called by `fsck`, by every command that stores built trees, and by checkouts into engines.

Tests: tests/repo/upkeep/.
"""
