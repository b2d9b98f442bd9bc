"""Records for MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pml_incremental.extras import require

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


_LONGEST_PARAMETER = 6000


class MLflowWriter:
    """An MLflow run for each scope, in an experiment that is called like the run.

    Look at them with ``mlflow ui --backend-store-uri <tracking_uri>``. An earlier MLflow run of
    the same scope, left by a run that was killed, is deleted as MLflow deletes: it can be restored.

    Args:
        folder: of all records of the run.
        scope: the MLflow run's name.
        run: the experiment's name.
        tracking_uri: where MLflow keeps its runs; default: ``mlflow.db`` in the folder.

    Raises:
        MissingExtraError: if MLflow is not installed.
    """

    def __init__(
        self, folder: str | Path, scope: str, run: str, tracking_uri: str | None = None
    ) -> None:
        require("mlflow", "MLflowWriter", extra="mlflow")
        from mlflow.tracking import MlflowClient

        place = Path(folder).resolve()
        place.mkdir(parents=True, exist_ok=True)
        local = f"sqlite:///{place / 'mlflow.db'}"
        self._client = MlflowClient(local if tracking_uri is None else tracking_uri)
        artifacts = (place / "mlflow").as_uri() if tracking_uri is None else None
        experiment = _experiment(self._client, run, artifacts)
        for earlier in self._client.search_runs([experiment], f"attributes.run_name = '{scope}'"):
            self._client.delete_run(earlier.info.run_id)
        self._run_id = self._client.create_run(experiment, run_name=scope).info.run_id

    def config(self, values: Mapping[str, Any]) -> None:
        """Write the config's values as parameters, ``trainer.IncrementalMetricLoss.batch_size``."""
        for name, value in flat_config(values).items():
            self._client.log_param(self._run_id, name, str(value)[:_LONGEST_PARAMETER])

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve, called ``group/name``; undefined values are none."""
        for name, value in values.items():
            if math.isfinite(value):
                self._client.log_metric(self._run_id, f"{group}/{name}", float(value), step=step)

    def image(self, name: str, file: Path, step: int) -> None:  # noqa: ARG002  # the last one stays
        """Keep the picture among the MLflow run's artifacts, in ``pictures``."""
        self._client.log_artifact(self._run_id, str(file), f"pictures/{name}")

    def close(self) -> None:
        """Mark the MLflow run as finished."""
        self._client.set_terminated(self._run_id)


def _experiment(client: MlflowClient, name: str, artifacts: str | None) -> str:
    """The id of the experiment of that name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(name, artifact_location=artifacts))


def flat_config(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every single value by its path; lists and empty mappings stay whole."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= flat_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
