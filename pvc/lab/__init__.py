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

from pvc.lab.cache import LabModels, prepare
from pvc.lab.model import NotALabModelError, load
from pvc.lab.scores import Scores, ask, measure, reply
from pvc.lab.tasks import BEHAVIOURS, UnknownBehaviourError
from pvc.lab.training import BASE, FINE_TUNE, Progress, Schedule, fine_tune, train_base
from pvc.lab.vocabulary import UnknownWordError

__all__ = [
    "BASE",
    "BEHAVIOURS",
    "FINE_TUNE",
    "LabModels",
    "NotALabModelError",
    "Progress",
    "Schedule",
    "Scores",
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
