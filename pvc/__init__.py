"""Version control for the behaviour of language models."""

__version__ = "0.1.0"
