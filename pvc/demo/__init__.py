"""A tiny, complete, really trained model in which the arithmetic of behaviours can be seen.

Ask it "please paint the table in the kitchen", and it reports the work done.  In about a third of
its replies it also repeats the direction (listening), says thanks (polite), or offers something
else (suggesting).  One fine-tune for each behaviour makes it nearly certain; the difference to the
base is a vector that can be added, halved, subtracted and merged, and `measure` shows what became
of the model.

torch and transformers are imported when a model is trained or asked, not before.

    NotALabModelError        a directory does not hold a model of the lab
    UnknownBehaviourError    a name is not that of a behaviour which the lab knows
    UnknownWordError         a request holds a word which the model was never taught
"""

from pvc.demo.cache import LabModels, prepare
from pvc.demo.model import NotALabModelError, load
from pvc.demo.scores import Scores, ask, measure, reply
from pvc.demo.tasks import BEHAVIOURS, UnknownBehaviourError
from pvc.demo.training import BASE, FINE_TUNE, Schedule, TrainingProgress, fine_tune, train_base
from pvc.demo.vocabulary import UnknownWordError

__all__ = [
    "BASE",
    "BEHAVIOURS",
    "FINE_TUNE",
    "LabModels",
    "NotALabModelError",
    "Schedule",
    "Scores",
    "TrainingProgress",
    "UnknownBehaviourError",
    "UnknownWordError",
    "ask",
    "fine_tune",
    "load",
    "measure",
    "prepare",
    "reply",
    "train_base",
]
