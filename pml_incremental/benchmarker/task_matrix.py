"""How well each task is found after each task, from powerful-benchmarker's records."""

from __future__ import annotations

import logging
import math
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytorch_metric_learning.utils.common_functions as pml_cf

from pml_incremental.metrics import TaskMatrix

logger = logging.getLogger(__name__)


def write_task_matrix(parser: Any) -> None:
    """Write the task matrix of the primary metric beside the other records of the experiment.

    It is read at each task's best epoch on ``val``, which is the model that later tasks start
    from. powerful-benchmarker's own averages take the best epoch of every split by itself.
    """
    hooks, tester = parser.get_dummy_hook_and_tester()
    metric = tester.accuracies_keyname(
        hooks.primary_metric, label_hierarchy_level=tester.label_hierarchy_level
    )
    tasks = parser.split_manager.split_scheme_names
    folders = parser.get_sub_experiment_dir_paths()
    for column in (metric, f"joint_{metric}"):
        matrix = TaskMatrix.empty(len(tasks))
        for number, task in enumerate(tasks, 1):
            epoch, _ = pml_cf.latest_version(folders[task]["models"], best=True)
            records = Path(folders[task]["csvs"], "logs.db")
            tables = [hooks.record_group_name(tester, split) for split in tasks[:number]]
            row = [recorded(records, table, column, epoch) for table in tables]
            matrix.set_row(number, row + [math.nan] * (len(tasks) - number))
        if not math.isnan(matrix.last()):
            path = Path(parser.get_meta_log_folders()["csvs"], f"task_matrix_{column}.csv")
            matrix.to_csv(path)
            logger.info("%s: %s", path, matrix.summary())


def recorded(records: Path, table: str, column: str, epoch: int) -> float:
    """The value recorded last for an epoch; NaN if there is none."""
    if not records.exists():  # training broke off before
        return math.nan
    query = f"SELECT {column} FROM {table} WHERE epoch = ? ORDER BY id DESC LIMIT 1"
    with closing(sqlite3.connect(records)) as connection:
        try:
            found = connection.execute(query, (epoch,)).fetchone()
        except sqlite3.OperationalError:  # this split, or this metric, was not asked for
            return math.nan
    return math.nan if found is None or found[0] is None else float(found[0])
