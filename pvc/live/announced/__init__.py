"""announced."""
