"""What a run, a diagnosis and an update have found, as reports show it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from pml_incremental.metrics import TaskMatrix, bootstrap_interval
from pml_incremental.metrics.task_matrix import without_nan
from pml_incremental.report.style import signed_percent

#: A task's images: those it is learned from, or those held out.
Split: TypeAlias = Literal["train", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)


#: What tables and pictures call the teacher taken for each prior model.
TEACHER_ITSELF = "teacher itself"


@dataclass(frozen=True)
class EstimationRow:
    """How near one estimate of one prior model is to it, on one task's images."""

    strategy: str  # whose models these are
    task: int  # t, the new task, whose images these are and whose teacher is M_{t-1}
    model: int  # k, of the prior model M_k
    images: Split  # ``"train"`` or ``"test"``
    estimator: str  # what estimates
    observed_on: str  # images that it has learned from: ``"finished"``, ``"new"`` or empty
    divergence: float  # mean of ``correlation_divergence``, tau = 4
    correlation: float  # mean of ``off_diagonal_correlation``
    drift: float  # mean of ``relative_drift`` from M_k to the teacher, whatever the estimator
    nbytes: int  # stored for all prior models of the task together

    @property
    def age(self) -> int:
        """How many tasks the teacher has learned since."""
        return self.task - 1 - self.model


@dataclass(frozen=True)
class EstimatorSummary:
    """An estimator over all tasks and prior models of a strategy."""

    strategy: str  # whose models are estimated
    estimator: str  # what estimates
    observed_on: str  # images that it has learned from: ``"finished"``, ``"new"`` or empty
    divergence_ratio: dict[Split, float]
    correlation: dict[Split, float]  # mean, by kind of images
    nbytes: int  # stored for all prior models in the last task


@dataclass(frozen=True)
class Diagnosis:
    """How well estimators know the prior models of a run."""

    name: str  # the run's
    batch_size: int  # about how many images are compared with each other
    model_bytes: int  # what storing the prior models of the last task themselves would take
    rows: tuple[EstimationRow, ...]  # all comparisons

    @property
    def strategies(self) -> list[str]:
        """Their labels, in order."""
        return list(dict.fromkeys(row.strategy for row in self.rows))

    def summaries(self) -> list[EstimatorSummary]:
        """One for each strategy and estimator, in the order of the rows."""
        keys = dict.fromkeys((row.strategy, row.estimator, row.observed_on) for row in self.rows)
        return [self._summary(*key) for key in keys]

    def divergence_by_age(
        self, strategy: str, observed_on: str, images: Split
    ) -> dict[str, dict[int, float]]:
        """Mean divergence over a model's age, by estimator; the teacher itself is always there."""
        rows = [
            row
            for row in self.rows
            if (row.strategy, row.images) == (strategy, images)
            and row.observed_on in ("", observed_on)
        ]
        ages = sorted({row.age for row in rows})
        return {
            name: {
                age: fmean(r.divergence for r in rows if (r.estimator, r.age) == (name, age))
                for age in ages
            }
            for name in dict.fromkeys(row.estimator for row in rows)
        }

    def drift_by_task(self, strategy: str, images: Split) -> dict[int, float]:
        """Mean drift to the teacher from its prior models, by task."""
        drifts = {
            (row.task, row.model): row.drift
            for row in self.rows
            if (row.strategy, row.images) == (strategy, images)
        }
        tasks = sorted({task for task, _ in drifts})
        return {t: fmean(drift for (task, _), drift in drifts.items() if task == t) for t in tasks}

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON can hold it: NaN becomes None."""
        plain: dict[str, Any] = without_nan(
            {
                "name": self.name,
                "batch_size": self.batch_size,
                "model_bytes": self.model_bytes,
                "drift_by_task": {
                    strategy: {images: self.drift_by_task(strategy, images) for images in SPLITS}
                    for strategy in self.strategies
                },
                "summaries": [asdict(summary) for summary in self.summaries()],
                "rows": [{**asdict(row), "age": row.age} for row in self.rows],
            }
        )
        return plain

    def _summary(self, strategy: str, estimator: str, observed_on: str) -> EstimatorSummary:
        same = [row for row in self.rows if row.strategy == strategy]
        teacher = [row for row in same if row.estimator == TEACHER_ITSELF]
        key = (estimator, observed_on)
        rows = [row for row in same if (row.estimator, row.observed_on) == key]
        return EstimatorSummary(
            strategy,
            estimator,
            observed_on,
            {kind: _total(rows, kind) / (_total(teacher, kind) or math.nan) for kind in SPLITS},
            {kind: fmean(r.correlation for r in rows if r.images == kind) for kind in SPLITS},
            rows[-1].nbytes,
        )


def _total(rows: Iterable[EstimationRow], kind: Split) -> float:
    return sum(row.divergence for row in rows if row.images == kind)


@dataclass(frozen=True)
class Change:
    """What happened to the Recall@1 of some queries, as a share, with its 95 % interval.

    Attributes:
        mean: after minus before, over the queries that have something to find.
        low: lower end of the interval over queries drawn anew, each with its before and after.
        high: upper end.

    Example:
        >>> print(Change.of([0, 0, 0], [1, 1, 1]))
        +100.0 points (+100.0 to +100.0)
    """

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, before: ArrayLike, after: ArrayLike) -> Change:
        """From the hits of the same queries, 1 or 0; NaN where there is nothing to find."""
        gains = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
        gains = gains[~np.isnan(gains)]
        mean = float(gains.mean()) if len(gains) else math.nan
        return cls(mean, *bootstrap_interval([gains]))

    @property
    def is_more(self) -> bool:
        """Whether more is found, beyond chance."""
        return self.low > 0

    @property
    def is_less(self) -> bool:
        """Whether less is found, beyond chance."""
        return self.high < 0

    def __str__(self) -> str:
        ends = f"{signed_percent(self.low)} to {signed_percent(self.high)}"
        return f"{signed_percent(self.mean)} points ({ends})"


def verdict(changes: Mapping[str, Change]) -> str:
    """One sentence: whether to switch to a new model, and what happens to which queries.

    Args:
        changes: by what the queries are called.

    Returns:
        For people.

    Example:
        >>> verdict({"new": Change(0.41, 0.3, 0.52)})
        'Switch. new: more found, +41.0 points (+30.0 to +52.0)'
    """
    known = {name: change for name, change in changes.items() if not math.isnan(change.mean)}
    if not known:
        return "No verdict: no query has another image of its class to find."
    more = any(change.is_more for change in known.values())
    less = any(change.is_less for change in known.values())
    advice = {
        (True, False): "Switch",
        (True, True): "Weigh it",
        (False, True): "Do not switch",
        (False, False): "No difference beyond chance",
    }[more, less]
    said = (f"{name}: {_said(change)}, {change}" for name, change in known.items())
    return f"{advice}. {'; '.join(said)}"


def _said(change: Change) -> str:
    if change.is_more:
        return "more found"
    return "less found" if change.is_less else "no change beyond chance"


@dataclass(frozen=True)
class FolderRecall:
    """Recall@1 of a model, as a share; NaN where no query has another image of its class."""

    own: dict[str, float]  # of each folder's images in that folder
    together: dict[str, float]  # of each folder's images in all folders

    def to_dict(self) -> dict[str, Any]:
        """Plain values, NaN as None."""
        plain: dict[str, Any] = without_nan(asdict(self))
        return plain


@dataclass(frozen=True)
class Update:
    """What an update made.

    Attributes:
        file: the new weights.
        folder: of the run of one task that made them.
        before: what the old model finds.
        after: what the new model finds.
        new_share: how much the new weights count beside the old ones, if the strategy merges them.
        changes: what each folder's images find among those of all folders, by the folder.
        rotated: whether the embeddings were rotated onto the old model's, if the strategy aligns.
    """

    file: Path
    folder: Path
    before: FolderRecall
    after: FolderRecall
    new_share: float | None = None
    changes: dict[str, Change] = field(default_factory=dict)
    rotated: bool | None = None


@dataclass(frozen=True)
class Result:
    """The task matrices of every strategy of a run.

    Attributes:
        name: the run's name.
        folder: where its files are.
        strategies: strategy -> metric -> task matrix; a metric's name begins with the gallery, as
            ``own/recall_at_1`` (a task's own images) and ``joint/recall_at_1`` (all tasks seen).
        learned: the stages that were learned to get here; none if the run was finished already.
        left_out: the classes that no task brings, and why.

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
    left_out: Mapping[str, str] = field(default_factory=dict)

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
