"""The numbers that tables of strategies show, each under one name everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import JOINT, OWN
from pml_incremental.report.style import percent, signed_percent


@dataclass(frozen=True)
class Column:
    """A number of a task matrix: how it is called and written, and which of several is best."""

    heading: str
    value: Callable[[TaskMatrix], float]
    best: Callable[..., float] = max
    write: Callable[[float], str] = percent
    metric: str = OWN

    @property
    def narrow_heading(self) -> str:
        """The heading with a word on each line."""
        return self.heading.replace(" ", "\n")

    def are_best(self, values: Sequence[float]) -> list[bool]:
        """Which are the best, as they are written; none if all that are defined look alike."""
        known = [value for value in values if not math.isnan(value)]
        differ = len({self.write(value) for value in known}) > 1
        return [differ and self.write(value) == self.write(self.best(known)) for value in values]


def old_tasks_mean(matrix: TaskMatrix) -> float:
    """Mean over all tasks but the last at the end; NaN if there is only one."""
    old = matrix.values[-1, :-1]
    return float(old.mean()) if len(old) else math.nan


OLD = Column("old", old_tasks_mean)
NEW = Column("new", lambda matrix: float(matrix.values[-1, -1]))
MEAN = Column("mean", TaskMatrix.last)
AVERAGE = Column("average incremental", TaskMatrix.average_incremental)
FORGETTING = Column("forgetting (diagonal)", TaskMatrix.forgetting, best=min)
TRANSFER = Column("forward transfer", TaskMatrix.forward_transfer, write=signed_percent)
JOINT_MEAN = Column("joint mean", TaskMatrix.last, metric=JOINT)

#: Of strategies with several seeds.
COMPARED = (OLD, NEW, MEAN, AVERAGE, FORGETTING)
#: Of a run.
OF_A_RUN = (*COMPARED, TRANSFER, JOINT_MEAN)
