"""Our classes on pytorch-metric-learning 0.9.92, which powerful-benchmarker pins.

Losses, estimators, metrics and the incremental mixin are the package's own. What they take for
granted and 0.9.92 lacks is here: ``ref_emb`` in the call of a loss, the schema of a trainer's
keys, and testers and calculators that work on arrays.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from pytorch_metric_learning import testers, trainers
from pytorch_metric_learning.utils import accuracy_calculator
from torch import Tensor

from pml_incremental import losses
from pml_incremental.benchmarker.task_splits import joint_gallery
from pml_incremental.metrics import recall_at_k
from pml_incremental.trainers.incremental_mixin import IncrementalMixin


def _to_device(x: Tensor, device: torch.device, dtype: None = None) -> Tensor:  # noqa: ARG001
    return x.to(device)


pml_cf.to_device = _to_device


class _TakesTeacher:
    """A loss that can be called as in PML 2: with the teacher's embeddings as ``ref_emb``."""

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        indices_tuple: Any = None,
        ref_emb: Tensor | None = None,
    ) -> Tensor:
        self.reset_stats()
        found = self.compute_loss(embeddings, labels, indices_tuple, ref_emb)
        self.add_embedding_regularization_to_loss_dict(found, embeddings)
        return self.reducer(found, embeddings, labels)


LOSSES = tuple(
    type(name, (_TakesTeacher, getattr(losses, name)), {"__doc__": getattr(losses, name).__doc__})
    for name in losses.__all__
)


class _HasSchema(trainers.BaseTrainer):
    """A trainer whose keys can be changed as in PML 2, by ``modify_schema``."""

    dtype = None

    def verify_dict_keys(self) -> None:
        self.schema = {
            "loss_funcs": SimpleNamespace(keys=super().allowed_loss_funcs_keys()),
            "optimizers": SimpleNamespace(important=[]),  # 0.9.92 misses none
        }
        self.modify_schema()
        super().verify_dict_keys()

    def modify_schema(self) -> None:
        """Nothing to change by itself."""

    def allowed_loss_funcs_keys(self) -> list[str]:
        return self.schema["loss_funcs"].keys


class IncrementalMetricLoss(IncrementalMixin, _HasSchema, trainers.MetricLossOnly):
    """See :class:`pml_incremental.trainers.IncrementalMetricLoss`."""


class IncrementalTrainWithClassifier(IncrementalMixin, _HasSchema, trainers.TrainWithClassifier):
    """See :class:`pml_incremental.trainers.IncrementalTrainWithClassifier`."""


class RecallCalculator(accuracy_calculator.AccuracyCalculator):
    """Recall@K beside the metrics of 0.9.92, from one search.

    Args:
        ks: the K of each ``recall_at_K``.
        include: names of metrics; default: the recalls and ``mean_average_precision_at_r``.
        **kwargs: as the base class takes them.
    """

    def __init__(
        self, ks: tuple[int, ...] = (1, 2, 4, 8), include: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        self.ks = tuple(ks)
        self.recalls = tuple(f"recall_at_{k}" for k in self.ks)
        for k, name in zip(self.ks, self.recalls, strict=True):
            # PML finds its metrics by the names of the attributes.
            setattr(self, f"calculate_{name}", partial(self._recall, k))
        wanted = tuple(include) or (*self.recalls, "mean_average_precision_at_r")
        super().__init__(include=wanted, **kwargs)

    def requires_knn(self) -> list[str]:
        """What needs a search, Recall@K included."""
        return [*super().requires_knn(), *self.recalls]

    def get_accuracy(
        self,
        query: Any,
        reference: Any,
        query_labels: Any,
        reference_labels: Any,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, float]:
        """PML's metrics, and Recall@K as PML 2.9 has it."""
        most = np.unique(reference_labels, return_counts=True)[1].max()
        # faiss fills up with index -1, which would read as the last item of the gallery.
        self.k = int(min(max(most, *self.ks), len(reference) - 1))
        return super().get_accuracy(
            query, reference, query_labels, reference_labels, *args, **kwargs
        )

    def _recall(
        self, k: int, knn_labels: Any, query_labels: Any, not_lone_query_mask: Any, **_: Any
    ) -> float:
        if not not_lone_query_mask.any():
            return float("nan")
        nearest, own = knn_labels[not_lone_query_mask], query_labels[not_lone_query_mask]
        hits = recall_at_k(torch.from_numpy(nearest), torch.from_numpy(own), k)
        return float(hits.mean())


class IncrementalTester(testers.GlobalEmbeddingSpaceTester):
    """Each task in its own gallery and, as ``joint_...``, in that of all tasks evaluated."""

    def do_knn_and_accuracies(
        self, accuracies: dict[str, float], embeddings_and_labels: Any, split_name: str
    ) -> None:
        """Search the gallery of the task, then that of all tasks."""
        super().do_knn_and_accuracies(accuracies, embeddings_and_labels, split_name)
        gallery = joint_gallery(split_name, embeddings_and_labels)
        joint: dict[str, float] = {}
        own, self.reference_set = self.reference_set, "compared_to_sets_combined"
        super().do_knn_and_accuracies(
            joint, {split: embeddings_and_labels[split] for split in gallery}, split_name
        )
        self.reference_set = own
        accuracies.update({f"joint_{name}": value for name, value in joint.items()})


CLASSES: dict[str, tuple[type, ...]] = {
    "loss": LOSSES,
    "trainer": (IncrementalMetricLoss, IncrementalTrainWithClassifier),
    "tester": (IncrementalTester,),
    "accuracy_calculator": (RecallCalculator,),
}
