"""What several runs with different seeds measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pml_incremental.experiment.result import Result
from pml_incremental.metrics import TaskMatrix


@dataclass(frozen=True)
class Comparison:
    """The results of the same strategies with several seeds.

    Attributes:
        name: of the config.
        folder: holds a run's folder per seed and ``report/``.
        results: seed -> result, all of the same strategies.

    Example:
        >>> result = Result("seed_0", Path("x"), {"finetune": {"m": TaskMatrix([[0.5], [0.75]])}})
        >>> comparison = Comparison("demo", Path("runs/demo"), {0: result})
        >>> comparison.strategies, comparison.mean_matrix("finetune", "m")
        (('finetune',), TaskMatrix([[0.5], [0.75]]))
    """

    name: str
    folder: Path
    results: Mapping[int, Result]

    @property
    def strategies(self) -> tuple[str, ...]:
        """Their names, in the order of the table."""
        return tuple(next(iter(self.results.values())).strategies)

    def matrices(self, strategy: str, metric: str) -> list[TaskMatrix]:
        """A strategy's matrix for each seed."""
        return [result.strategies[strategy][metric] for result in self.results.values()]

    def mean_matrix(self, strategy: str, metric: str) -> TaskMatrix:
        """The mean of a strategy's matrices over seeds."""
        return TaskMatrix(
            np.mean([matrix.values for matrix in self.matrices(strategy, metric)], axis=0)
        )
