"""The error of the demo."""

from pvc.errors import PvcError


class DemoError(PvcError):
    """The lab does not know a word, a behaviour or a model, or the story went wrong."""
