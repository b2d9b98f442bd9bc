"""Pictures and tables of what a run measured."""

from pml_incremental.report.estimation_errors import plot_estimation_error, print_diagnosis
from pml_incremental.report.retrieval_grid import (
    LabelledImage,
    RetrievalRow,
    plot_retrieval_grid,
    retrieval_rows,
)
from pml_incremental.report.strategies_plot import (
    plot_forgetting_curves,
    plot_pareto,
    plot_task_curves,
)
from pml_incremental.report.tables import (
    ComparisonTable,
    comparison_table,
    print_comparison,
    print_summary,
    print_update,
)
from pml_incremental.report.task_matrix_plot import plot_task_matrix

__all__ = [
    "ComparisonTable",
    "LabelledImage",
    "RetrievalRow",
    "comparison_table",
    "plot_estimation_error",
    "plot_forgetting_curves",
    "plot_pareto",
    "plot_retrieval_grid",
    "plot_task_curves",
    "plot_task_matrix",
    "print_comparison",
    "print_diagnosis",
    "print_summary",
    "print_update",
    "retrieval_rows",
]
