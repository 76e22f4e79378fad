"""From a formula to a tree."""
