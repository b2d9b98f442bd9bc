"""Tasks as the split schemes of a powerful-benchmarker experiment."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from powerful_benchmarker.split_managers import BaseSplitManager
from torch import Tensor
from torch.utils.data import Subset

from pml_incremental.benchmarker.task_splits import TaskSplits, split_tasks
from pml_incremental.scenarios import ClassIncrementalScenario


class ClassIncrementalSplitManager(BaseSplitManager):
    """Each task of a class-incremental stream is a split scheme, ``task_1``, ``task_2``, ...

    powerful-benchmarker learns split schemes one after another, each with folders of its own for
    models and records. The splits of a task are ``train`` and ``val`` (both training images of its
    new classes), ``test`` (the test images of all classes learned so far), and ``task_1`` up to
    its own name (the test images of one task).

    Labels are renumbered in order of arrival, so that classifiers and proxies can grow.

    Args:
        classes_per_task: as in :class:`~pml_incremental.scenarios.ClassIncrementalScenario`.
        class_groups: as there.
        class_order: as there.
        seed: of the splits and a random order.
        test_fraction: as there; for datasets without a ``test_mask``.
        val_fraction: share of each class's training images that chooses the best epoch, at least
            2; a class with fewer than 4 spares none.
    """

    def __init__(
        self,
        classes_per_task: Sequence[int] | None = None,
        class_groups: Sequence[Sequence[int]] | Literal["natural"] | None = None,
        class_order: Literal["random"] | Sequence[int] | None = None,
        seed: int = 0,
        test_fraction: float = 0.3,
        val_fraction: float = 0.2,
    ) -> None:
        super().__init__()
        self.scenario_arguments = {
            "classes_per_task": classes_per_task,
            "class_groups": class_groups,
            "class_order": class_order,
            "seed": seed,
            "test_fraction": test_fraction,
        }
        self.val_fraction = val_fraction
        self.split_names = ["all"]  # how many copies of the dataset are made for each transform
        self.stages: dict[str, TaskSplits] = {}
        self.position: dict[Any, int] = {}
        self.data_and_label_getter = self.images_and_labels

    @property
    def stage(self) -> TaskSplits:
        """The images of the current task."""
        return self.stages[self.curr_split_scheme_name]

    def images_and_labels(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Images of a batch and their labels in order of arrival."""
        return batch["data"], torch.tensor(self.in_order_of_arrival(batch["label"]))

    def in_order_of_arrival(self, labels: Any) -> list[int]:
        """The new number of each of the dataset's labels."""
        plain = labels.tolist() if hasattr(labels, "tolist") else labels
        return [self.position[label] for label in plain]

    def get_label_set(self, *args: Any, dataset: Any = None, **kwargs: Any) -> set[int]:
        """The labels of a split, in order of arrival."""
        return set(self.in_order_of_arrival(self.get_labels(*args, dataset=dataset, **kwargs)))

    def get_num_labels(self, *args: Any, **kwargs: Any) -> int:  # noqa: ARG002
        """How many rows a classifier or a loss with proxies needs: one for each class so far."""
        return self.stage.task.labels.stop

    @contextmanager
    def at(self, task_name: str) -> Iterator[None]:
        """Go back to an earlier task for a while."""
        current = self.curr_split_scheme_name
        self.set_curr_split_scheme(task_name)
        try:
            yield
        finally:
            self.set_curr_split_scheme(current)

    def get_split_scheme_name(self, partition: int) -> str:
        """The name of a task, from its place in the stream, counted from 0."""
        return f"task_{partition + 1}"

    def get_base_split_scheme_name(self) -> str:
        """What task folders begin with."""
        return "task"

    def get_test_set_name(self) -> str:
        """The split that is tested: all classes seen."""
        return "seen_classes"

    def split_assertions(self) -> None:
        """Nothing to assert: a scenario's tasks share no class and its splits no image."""

    def _create_split_schemes(
        self, datasets: Mapping[str, Mapping[str, Any]]
    ) -> OrderedDict[str, Any]:
        copies = {transform: one["all"] for transform, one in datasets.items()}
        scenario = ClassIncrementalScenario(copies["train"], **self.scenario_arguments)
        self.position = {label: number for number, label in enumerate(scenario.classes)}
        stages = split_tasks(scenario, self.val_fraction, self.scenario_arguments["seed"])
        self.stages = {stage.task.name: stage for stage in stages}
        return OrderedDict(
            (name, {transform: _subsets(copy, stage) for transform, copy in copies.items()})
            for name, stage in self.stages.items()
        )


def _subsets(dataset: Any, stage: TaskSplits) -> OrderedDict[str, Subset[Any]]:
    return OrderedDict(
        (name, Subset(dataset, indices)) for name, indices in stage.indices().items()
    )
