"""personality."""
