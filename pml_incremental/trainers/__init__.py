"""PML trainers that learn beside a teacher."""

import pml_incremental.needs_pml_2  # noqa: F401
from pml_incremental.trainers._terms import Compared, Penalty, StepObserver
from pml_incremental.trainers.incremental_mixin import IncrementalMixin
from pml_incremental.trainers.incremental_trainers import (
    IncrementalMetricLoss,
    IncrementalTrainWithClassifier,
)
from pml_incremental.trainers.numerics import NonFiniteLossError, Precision
from pml_incremental.trainers.probes import Probes
from pml_incremental.trainers.resumable_mixin import Checkpointer, DataLoadingError, ResumableMixin
from pml_incremental.trainers.step_mixin import DataParallelMixin, StepMixin
from pml_incremental.trainers.teacher import Teacher, TeacherCache, TeacherOutputs, check_unchanging

__all__ = [
    "Checkpointer",
    "Compared",
    "DataLoadingError",
    "DataParallelMixin",
    "IncrementalMetricLoss",
    "IncrementalMixin",
    "IncrementalTrainWithClassifier",
    "NonFiniteLossError",
    "Penalty",
    "Precision",
    "Probes",
    "ResumableMixin",
    "StepMixin",
    "StepObserver",
    "Teacher",
    "TeacherCache",
    "TeacherOutputs",
    "check_unchanging",
]
