"""The root of every error that pvc raises on purpose.

Each module defines the errors it raises; all of them descend from `PvcError`, carry their facts
as attributes, and read as one plain sentence. Exit codes and hints belong to the command line.
"""

from pvc_store.errors import PvcError

__all__ = ["PvcError"]
