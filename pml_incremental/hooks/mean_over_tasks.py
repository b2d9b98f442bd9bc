"""The mean over tasks, where PML's presets look for a split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_metric_learning.utils.logging_presets import HookContainer

from pml_incremental.records import check_table_name

#: The split of means over all tasks evaluated, each in its own gallery.
MEAN = "mean"
#: The same in the joint gallery; only :class:`~pml_incremental.testers.IncrementalTester` has it.
MEAN_JOINT = "mean_joint"
_JOINT = "joint_"


class MeanOverTasks:
    """An end-of-testing hook that adds the means over tasks and then calls PML's.

    PML's ``HookContainer`` chooses the best epoch, steps plateau schedulers and stops early by one
    metric of one split. This adds splits that hold, for every metric, the mean over those
    evaluated; a container with ``validation_split_name="mean"`` (or ``"mean_joint"``) then goes by
    them.

    Args:
        container: PML's, as ``get_hook_container`` gives it.

    Raises:
        ModuleNotFoundError: if PML gave an empty container.
        ValueError: when called, if a split's name cannot be recorded or is one of the above, or a
            metric is undefined for a split.

    Example:
        >>> means = mean_over_splits({"task_1": {"recall_at_1_level0": 0.5, "epoch": 3},
        ...                           "task_2": {"recall_at_1_level0": 1.0, "epoch": 3}})
        >>> means["mean"]
        {'epoch': 3, 'recall_at_1_level0': 0.75}
    """

    def __init__(self, container: Any) -> None:
        if not isinstance(container, HookContainer):
            raise ModuleNotFoundError(
                "PML gave a container without hooks, because it found no record-keeper or no "
                "tensorboard: pip install record-keeper tensorboard"
            )
        self.container = container

    def __call__(self, tester: Any) -> None:
        """Add the means to what the tester measured, and let PML record all of it."""
        accuracies: dict[str, dict[str, float]] = tester.all_accuracies
        taken = {MEAN, MEAN_JOINT} & accuracies.keys()
        if taken:
            raise ValueError(
                f"{min(taken)!r} is reserved for the mean over splits: rename that split"
            )
        for split in accuracies:
            check_table_name(self.container.record_group_name(tester, split), f"split {split!r}")
        # record-keeper drops NumPy's floats without a word.
        for values in accuracies.values():
            values.update({name: float(v) for name, v in values.items() if name != "epoch"})
        for split, means in mean_over_splits(accuracies).items():
            tester.reference_split_names[split] = [split]
            accuracies[split] = means
        self.container.end_of_testing_hook(tester)


def mean_over_splits(
    accuracies: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """The means of every metric over all splits."""
    splits = list(accuracies)
    means: dict[str, dict[str, float]] = {MEAN: {"epoch": accuracies[splits[0]]["epoch"]}}
    for name in (name for name in accuracies[splits[0]] if name != "epoch"):
        undefined = [split for split in splits if math.isnan(accuracies[split][name])]
        if undefined:
            raise ValueError(
                f"{name} is undefined for {' and '.join(undefined)}, so there is no mean over "
                "tasks: no query there has another image of its class; give more images, or leave "
                "that split out"
            )
        target = MEAN_JOINT if name.startswith(_JOINT) else MEAN
        found = means.setdefault(target, {"epoch": means[MEAN]["epoch"]})
        mean = sum(accuracies[split][name] for split in splits) / len(splits)
        found[name.removeprefix(_JOINT)] = mean
    return means


class InOrder:
    """Calls each hook in its order; says that training should stop if one of them does.

    Takes the place of any hook of a PML trainer or tester, which has room for one of each kind.

    Args:
        *hooks: each takes the trainer (or the tester) and may return False to stop training. All
            are called, whatever an earlier one returned.

    Example:
        >>> seen = []
        >>> both = InOrder(seen.append, lambda trainer: trainer != "last")
        >>> both("first"), both("last"), seen
        (True, False, ['first', 'last'])
    """

    def __init__(self, *hooks: Callable[[Any], object]) -> None:
        self.hooks = hooks

    def __call__(self, subject: Any) -> bool:
        """Call all hooks."""
        answers = [hook(subject) for hook in self.hooks]
        return not any(answer is False for answer in answers)
