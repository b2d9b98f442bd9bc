"""What a diagnosis leaves in a run's folder."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict

from pml_incremental.experiment.diagnosis.diagnosis_result import Diagnosis
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.report import plot_estimation_error

_PANELS = {"finished": "observed on finished tasks", "new": "observed on the new images"}


def write_diagnosis(diagnosis: Diagnosis, folder: RunFolder) -> None:
    """Write ``diagnosis.json``, ``diagnosis.csv`` and ``pictures/estimation_error.png``.

    Args:
        diagnosis: the numbers.
        folder: the run's folder.
    """
    folder.write_json("diagnosis.json", diagnosis.to_dict())
    folder.write_text("diagnosis.csv", as_csv(diagnosis))
    _draw(diagnosis, folder)


def as_csv(diagnosis: Diagnosis) -> str:
    """A line for each row, under a line of names.

    Example:
        >>> from pml_incremental.experiment.diagnosis.diagnosis_result import EstimationRow
        >>> row = EstimationRow("fecd", 3, 1, "test", "MLPEstimator", "new", 0.5, 0.9, 0.1, 64)
        >>> print(as_csv(Diagnosis("demo", 80, 4096, (row,))))
        strategy,task,model,images,estimator,observed_on,divergence,correlation,drift,nbytes,age
        fecd,3,1,test,MLPEstimator,new,0.5,0.9,0.1,64,1
        <BLANKLINE>
    """
    lines = [{**asdict(row), "age": row.age} for row in diagnosis.rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _draw(diagnosis: Diagnosis, folder: RunFolder) -> None:
    panels = {
        strategy: {
            heading: diagnosis.divergence_by_age(strategy, observed_on, "test")
            for observed_on, heading in _PANELS.items()
        }
        for strategy in diagnosis.strategies
    }
    title = f"{diagnosis.name}: divergence from real prior models, held-out images"
    plot_estimation_error(panels, folder.file("pictures/estimation_error.png"), title)
