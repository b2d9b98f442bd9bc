"""What a finished run leaves behind: numbers and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pml_incremental.experiment.result import Result
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.recall_at_1 import JOINT, OWN
from pml_incremental.report import plot_task_curves, plot_task_matrix

_PICTURED = (OWN, JOINT)


def write_outputs(result: Result, folder: RunFolder) -> None:
    """Write ``metrics.json``, a CSV per matrix, heat maps and curves."""
    folder.write_json("metrics.json", result.to_dict())
    for strategy, matrices in result.strategies.items():
        for metric, matrix in matrices.items():
            matrix.to_csv(folder.file(f"{strategy}/{_file_name(metric)}.csv"))
        draw_matrices(strategy, matrices, folder)
    for metric in _PICTURED:
        _draw_over_time(result, folder, metric)


def draw_matrices(
    strategy: str, matrices: Mapping[str, TaskMatrix], folder: RunFolder
) -> dict[str, Path]:
    """Heat maps of a strategy's Recall@1 matrices."""
    pictures = {}
    for metric in (metric for metric in _PICTURED if metric in matrices):
        picture = folder.file(f"pictures/{_file_name(metric)}_matrix_{strategy}.png")
        plot_task_matrix(matrices[metric], picture, title=f"{strategy}: {metric_title(metric)}")
        pictures[f"{metric}_matrix"] = picture
    return pictures


def _draw_over_time(result: Result, folder: RunFolder, metric: str) -> None:
    matrices = {name: found[metric] for name, found in result.strategies.items() if metric in found}
    if matrices:
        picture = folder.file(f"pictures/{_file_name(metric)}_over_time.png")
        plot_task_curves(matrices, picture, metric_name=metric_title(metric))


def metric_title(metric: str) -> str:
    """A metric's name as people write it."""
    gallery, name = metric.split("/")
    return f"{name.replace('recall_at_', 'Recall@')}, {gallery} gallery"


def _file_name(metric: str) -> str:
    return metric.replace("/", "_")
