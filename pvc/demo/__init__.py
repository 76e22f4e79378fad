"""The demo: a tiny model that is really trained, and the story that `pvc demo` plays on it.

`vocabulary` and `tasks` are what the model is asked: "please paint the table in the kitchen".  It
reports the work done, and in about a third of its replies repeats the direction (listening), says
thanks (polite), or offers something else (suggesting).  `training` trains a base from nothing, and
a fine-tune for each behaviour that makes it nearly certain; `cache` keeps them for later runs.
`story` has the sentences and commands, and plays them; `scores` measures what became of the model;
`engine_process` is the engine in it.  Called by `pvc.cli.commands.demo`.

torch and transformers are imported when a model is trained or asked, not before.

Tests: tests/demo/.
"""

from pvc.demo.cache import LabModels, prepare
from pvc.demo.errors import DemoError
from pvc.demo.model import load
from pvc.demo.scores import Scores, ask, measure, reply
from pvc.demo.tasks import BEHAVIOURS
from pvc.demo.training import BASE, FINE_TUNE, Schedule, TrainingProgress, fine_tune, train_base

__all__ = [
    "BASE",
    "BEHAVIOURS",
    "FINE_TUNE",
    "DemoError",
    "LabModels",
    "Schedule",
    "Scores",
    "TrainingProgress",
    "ask",
    "fine_tune",
    "load",
    "measure",
    "prepare",
    "reply",
    "train_base",
]
