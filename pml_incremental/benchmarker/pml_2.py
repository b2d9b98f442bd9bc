"""What powerful-benchmarker 0.9.33 expects of older libraries, on pytorch-metric-learning 2.9.

Only the runner imports this module, before powerful-benchmarker. Importing it adds three names to
libraries, which are all that must be changed in place:

- ``pytorch_metric_learning.utils.common_functions.Identity``, now ``torch.nn.Identity``;
- ``logging_presets.get_record_keeper``, which no longer takes ``save_figures`` and makes record
  keepers whose ``update_records`` no longer takes ``input_group_name_for_non_objects`` and that
  hash long names, which powerful-benchmarker then does not find;
- ``gdown.cached_download.assert_md5sum``, gone since gdown 6.

The classes below stand in for PML's of the same name: testers that take ``reference_set`` and a
list of names as ``splits_to_eval``, and a hook container whose records are named by the split
alone. They are registered, and PML's stay as they are.
"""

from __future__ import annotations

import importlib
from typing import Any

import pytorch_metric_learning.utils.common_functions as pml_cf
import record_keeper
import torch
from pytorch_metric_learning import testers
from pytorch_metric_learning.utils import logging_presets
from torchvision.datasets.utils import check_md5

from pml_incremental import losses, trainers
from pml_incremental.benchmarker.task_splits import joint_gallery
from pml_incremental.testers import IncrementalTester as OurTester
from pml_incremental.testers import RecallCalculator

OWN_GALLERY = "compared_to_self"
_get_record_keeper = logging_presets.get_record_keeper


class RecordKeeper(record_keeper.RecordKeeper):
    """Takes group names by their older name, and keeps them as they are."""

    def update_records(
        self,
        *args: Any,
        input_group_name_for_non_objects: str | None = None,
        parent_name: str = "",
        **kwargs: Any,
    ) -> None:
        """Take the name of the group as record-keeper 0.9.29 calls it."""
        name = input_group_name_for_non_objects or parent_name
        super().update_records(*args, parent_name=name, **kwargs)

    def append_primitive(self, group: str, series: str, value: Any, global_iteration: int) -> None:
        """Append a value, as record-keeper 0.9.29 calls it."""
        self.append_data(group, series, value, global_iteration)


def get_record_keeper(
    *args: Any,
    save_figures: bool = False,  # noqa: ARG001  # of lists and embeddings; no longer drawn
    **kwargs: Any,
) -> tuple[RecordKeeper, Any, Any]:
    """As PML's, with the arguments that it used to take."""
    keeper, records, tensorboard = _get_record_keeper(*args, **kwargs)
    return RecordKeeper(tensorboard, records, keeper.attributes_to_search_for), records, tensorboard


def assert_md5sum(filename: str, md5: str) -> None:
    """Raise an AssertionError if a file has another checksum."""
    if not check_md5(filename, md5):
        raise AssertionError(f"{filename} has another MD5 than {md5}")


class _TakesReferenceSet:
    """A tester that is constructed and called as in PML 0.9.92."""

    def __init__(self, *args: Any, reference_set: str | None = OWN_GALLERY, **kwargs: Any) -> None:
        if reference_set not in (OWN_GALLERY, None):
            raise ValueError(
                f"reference_set must be {OWN_GALLERY} with pytorch-metric-learning 2, got "
                f"{reference_set!r}: IncrementalTester also searches the joint gallery"
            )
        super().__init__(*args, **kwargs)

    def test(
        self,
        dataset_dict: Any,
        epoch: int,
        trunk_model: torch.nn.Module,
        embedder_model: torch.nn.Module | None = None,
        splits_to_eval: list[str] | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        pairs = None if splits_to_eval is None else [(split, [split]) for split in splits_to_eval]
        return super().test(
            dataset_dict, epoch, trunk_model, embedder_model, pairs, *args, **kwargs
        )


class GlobalEmbeddingSpaceTester(_TakesReferenceSet, testers.GlobalEmbeddingSpaceTester):
    """PML's, as powerful-benchmarker uses it."""


class WithSameParentLabelTester(_TakesReferenceSet, testers.WithSameParentLabelTester):
    """PML's, as powerful-benchmarker uses it."""


class IncrementalTester(_TakesReferenceSet, OurTester):
    """Each task in its own gallery and, as ``joint_...``, in that of all tasks evaluated."""

    def do_knn_and_accuracies(
        self,
        accuracies: dict[str, float],
        embeddings_and_labels: Any,
        query_split_name: str,
        reference_split_names: list[str],
    ) -> None:
        """Search the gallery of the task, then that of all tasks."""
        gallery = joint_gallery(query_split_name, embeddings_and_labels)
        super().do_knn_and_accuracies(
            accuracies,
            {split: embeddings_and_labels[split] for split in gallery},
            query_split_name,
            reference_split_names,
        )


class HookContainer(logging_presets.HookContainer):
    """Records are found by the name of the split, also before anything was tested."""

    def record_group_name(self, tester: Any, split_name: str) -> str:
        """The group of a split."""
        return f"{self.base_record_group_name(tester)}_{split_name.upper()}"


pml_cf.Identity = torch.nn.Identity
logging_presets.get_record_keeper = get_record_keeper
_downloads = importlib.import_module("gdown.cached_download")
if not hasattr(_downloads, "assert_md5sum"):
    _downloads.assert_md5sum = assert_md5sum

CLASSES: dict[str, tuple[type, ...]] = {
    "loss": tuple(getattr(losses, name) for name in losses.__all__),
    "trainer": (trainers.IncrementalMetricLoss, trainers.IncrementalTrainWithClassifier),
    "tester": (GlobalEmbeddingSpaceTester, WithSameParentLabelTester, IncrementalTester),
    "accuracy_calculator": (RecallCalculator,),
    "hook_container": (HookContainer,),
}
