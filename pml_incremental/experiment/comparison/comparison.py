"""What several runs with different seeds measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pml_incremental.experiment.running.outputs import metric_title
from pml_incremental.experiment.running.result import Result
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.recall_at_1 import OWN
from pml_incremental.report import (
    ComparisonTable,
    comparison_table,
    plot_forgetting_curves,
    plot_pareto,
    plot_task_matrix,
)
from pml_incremental.storage import write_text_whole


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


def write_comparison(comparison: Comparison) -> None:
    """Write the table in three formats and the pictures to ``report/``."""
    folder = comparison.folder / "report"
    folder.mkdir(parents=True, exist_ok=True)
    matrices = {name: comparison.matrices(name, OWN) for name in comparison.strategies}
    table = summary_table(comparison)
    write_text_whole(folder / "table.md", table.to_markdown())
    write_text_whole(folder / "table.tex", table.to_latex())
    write_text_whole(folder / "table.csv", table.to_csv())
    plot_pareto(matrices, folder / "pareto.png", metric_title(OWN))
    plot_forgetting_curves(matrices, folder / "forgetting.png", metric_title(OWN))
    for name in comparison.strategies:
        title = f"{name}: {metric_title(OWN)}, mean of {len(comparison.results)} seeds"
        plot_task_matrix(
            comparison.mean_matrix(name, OWN), folder / f"matrix_{name}.png", title=title
        )


def summary_table(comparison: Comparison) -> ComparisonTable:
    """Old, new and mean Recall@1, average incremental and forgetting of each strategy."""
    matrices = {name: comparison.matrices(name, OWN) for name in comparison.strategies}
    return comparison_table(matrices, title=f"{comparison.name}: {metric_title(OWN)}, in %")
