"""Measurements of pvc beside its peers: `python -m benchmarks.store`."""
