"""Pictures and tables of what a run measured."""

from pml_incremental.report.comparison_table import (
    ComparisonTable,
    comparison_table,
    print_comparison,
)
from pml_incremental.report.diagnosis_table import print_diagnosis
from pml_incremental.report.estimation_error_plot import plot_estimation_error
from pml_incremental.report.forgetting_curves_plot import plot_forgetting_curves
from pml_incremental.report.pareto_plot import plot_pareto
from pml_incremental.report.retrieval_grid import plot_retrieval_grid
from pml_incremental.report.retrieval_row import LabelledImage, RetrievalRow, retrieval_rows
from pml_incremental.report.run_table import print_summary
from pml_incremental.report.task_curves_plot import plot_task_curves
from pml_incremental.report.task_matrix_plot import plot_task_matrix
from pml_incremental.report.update_table import print_update

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
