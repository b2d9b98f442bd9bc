"""What a run measured."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pml_incremental.metrics import TaskMatrix


@dataclass(frozen=True)
class Result:
    """The task matrices of every strategy of a run.

    Attributes:
        name: the run's name.
        folder: where its files are.
        strategies: strategy -> metric -> task matrix; a metric's name begins with the gallery, as
            ``own/recall_at_1`` (a task's own images) and ``joint/recall_at_1`` (all tasks seen).
        learned: the stages that were learned to get here; none if the run was finished already.
        left_out: names of the classes that no task brings, those without enough images first.

    Example:
        >>> matrices = {"own/recall_at_1": TaskMatrix.empty(1)}
        >>> result = Result("demo", Path("runs/demo"), {"finetune": matrices})
        >>> result.to_dict()["strategies"]["finetune"]["own/recall_at_1"]["values"]
        [[None], [None]]
    """

    name: str
    folder: Path
    strategies: dict[str, dict[str, TaskMatrix]]
    learned: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Name, and values and summary of each matrix, as JSON can hold them: NaN becomes None.

        Example:
            >>> Result("demo", Path("runs/demo"), {}).to_dict()
            {'name': 'demo', 'strategies': {}}
        """
        return {
            "name": self.name,
            "strategies": {
                strategy: {metric: matrix.to_dict() for metric, matrix in matrices.items()}
                for strategy, matrices in self.strategies.items()
            },
        }
