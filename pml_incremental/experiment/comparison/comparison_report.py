"""What a comparison leaves behind."""

from __future__ import annotations

from pml_incremental.experiment.comparison.comparison import Comparison
from pml_incremental.experiment.outputs import metric_title
from pml_incremental.metrics.recall_at_1 import OWN
from pml_incremental.report import (
    ComparisonTable,
    comparison_table,
    plot_forgetting_curves,
    plot_pareto,
    plot_task_matrix,
)
from pml_incremental.storage import write_text_whole


def write_comparison(comparison: Comparison) -> None:
    """Write the table in three formats and the pictures to ``report/``.

    Args:
        comparison: of runs that measured ``own/recall_at_1``.
    """
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
    """Old, new and mean Recall@1, average incremental and forgetting of each strategy.

    Args:
        comparison: of runs that measured ``own/recall_at_1``.
    """
    matrices = {name: comparison.matrices(name, OWN) for name in comparison.strategies}
    return comparison_table(matrices, title=f"{comparison.name}: {metric_title(OWN)}, in %")
