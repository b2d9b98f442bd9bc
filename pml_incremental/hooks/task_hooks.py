"""PML's logging presets for one task, and hooks that record what training and tests give."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytorch_metric_learning.utils import common_functions as c_f
from pytorch_metric_learning.utils.logging_presets import get_hook_container, get_record_keeper
from torch import Tensor
from torch.utils.data import Dataset

from pml_incremental.estimators import EstimatorBank
from pml_incremental.hooks.mean_over_tasks import MEAN, MeanOverTasks
from pml_incremental.records import RecordWriter
from pml_incremental.storage.tensor_file import pack_state, unpack_state
from pml_incremental.strategies.estimation import PASSES, EstimatorInput, update_bank
from pml_incremental.trainers import Teacher
from pml_incremental.trainers._terms import loss_value
from pml_incremental.trainers.training_state import (
    plain_attributes,
    random_state,
    restore_random_state,
    set_plain_attributes,
)


class TaskHooks:
    """PML's presets with a record folder and a model folder for one task of several.

    They record losses and accuracies with record-keeper (SQLite and CSV, in ``records``) and for
    TensorBoard (in ``tensorboard``), keep the latest and the best models (in ``models``), step
    plateau schedulers, stop early, and resume, all by the mean over the tasks evaluated. They work
    with any PML trainer and tester. Recording and evaluating change no weights.

    Give each task hooks of its own: in a common folder, PML would mix their epochs, and compare
    the epochs of one task with the best of the one before.

    Args:
        folder: of this task.
        primary_metric: what to go by, one of the tester's metrics.
        best_by: the split whose metric that is: ``"mean"``, ``"mean_joint"`` or that of a task.
        log_freq: iterations between two records of losses.

    Attributes:
        container: PML's ``HookContainer``, to look up histories.
        end_of_iteration_hook: for the trainer.
        end_of_testing_hook: for the tester.

    Raises:
        ModuleNotFoundError: if record-keeper or tensorboard is missing.
    """

    def __init__(
        self,
        folder: str | Path,
        primary_metric: str = "recall_at_1",
        best_by: str = MEAN,
        log_freq: int = 50,
    ) -> None:
        self.folder = Path(folder)
        keeper, _, _ = get_record_keeper(
            str(self.folder / "records"), str(self.folder / "tensorboard")
        )
        self.container = get_hook_container(
            keeper, primary_metric=primary_metric, validation_split_name=best_by, log_freq=log_freq
        )
        self.end_of_testing_hook = MeanOverTasks(self.container)
        self.end_of_iteration_hook: Callable[[Any], None] = self.container.end_of_iteration_hook
        self.container.saveable_trainer_objects.append("random_state")
        self._goes_on = False

    def end_of_epoch_hook(
        self,
        tester: Any,
        validation: Mapping[str, Dataset[Any]],
        patience: int | None = None,
        test_interval: int = 1,
    ) -> Callable[[Any], bool]:
        """The trainer's hook: evaluate, record, save, and stop when it does not get better.

        Whatever images are given here decide which epoch is best and when training stops. Give
        held-out images that are neither trained on nor used to report results; test images serve
        only if you accept that they have chosen the model.

        Args:
            tester: a PML tester, whose ``end_of_testing_hook`` is this object's, alone or in
                :class:`InOrder`; it is set if the tester has none.
            validation: split -> images, one split for each task seen; letters, digits and
                underscores.
            patience: evaluations may stay below the best for so many epochs; default: for ever.
            test_interval: epochs between two evaluations.

        Returns:
            A hook that returns False to stop.

        Raises:
            ValueError: if the tester does not have the primary metric; at the first epoch, if the
                folder holds records of an earlier training and :meth:`resume` was not called.
        """
        if tester.end_of_testing_hook is None:
            tester.end_of_testing_hook = self.end_of_testing_hook
        evaluate = self.container.end_of_epoch_hook(
            tester, dict(validation), str(self._models), test_interval, patience
        )

        def hook(trainer: Any) -> bool:
            self._check_folder()
            before = _add_random_state(trainer)
            goes_on = bool(evaluate(trainer))
            # A data loader draws a seed from torch's stream: training is to go as without it.
            before.restore()
            return goes_on

        return hook

    def resume(self, trainer: Any) -> int:
        """Load the latest models, optimizers, schedulers and random streams, if there are any.

        With no data-loading workers and epochs of one pass over the loader, which is PML's default,
        a training that resumes so equals an uninterrupted one to the bit on a CPU.

        Args:
            trainer: a new one, built as the one that was interrupted.

        Returns:
            The epoch to go on with, for ``trainer.train(start_epoch, num_epochs)``; 1 if there is
            nothing to resume.
        """
        self._goes_on = True
        _add_random_state(trainer)
        return self._load(trainer, best=False)

    def load_best(self, trainer: Any) -> int:
        """Load the best models into the trainer's.

        Returns:
            Their epoch.

        Raises:
            FileNotFoundError: if none were saved yet.
        """
        epoch = self._load(trainer, best=True) - 1
        if epoch == 0:
            raise FileNotFoundError(f"{self._models} has no best models: train first")
        return epoch

    @property
    def _models(self) -> Path:
        return self.folder / "models"

    def _load(self, trainer: Any, best: bool) -> int:
        next_epoch: int = self.container.load_latest_saved_models(
            trainer, str(self._models), trainer.data_device, best=best
        )
        return next_epoch

    def _check_folder(self) -> None:
        if not self._goes_on and any(self._models.iterdir()):
            raise ValueError(
                f"{self.folder} holds the models and records of an earlier training: call "
                "resume(trainer) to continue it, or give each task a folder of its own"
            )
        self._goes_on = True


def _add_random_state(trainer: Any) -> RandomState:
    """The random state, put where the container saves and loads it with the models."""
    state = RandomState(trainer.sampler)
    trainer.random_state = {"random_state": state}
    return state


def start_of_task(
    trainer: Any,
    bank: EstimatorBank,
    leaving: Teacher,
    estimator_input: EstimatorInput | None = None,
    passes: int = PASSES,
) -> None:
    """Bring the estimators up to date, before a task is trained.

    They learn from what the trainer's teacher, which learned the task before, and the teacher
    before that make of the trainer's images, as the strategy ``fecd`` does.

    Args:
        trainer: of the task about to be learned; it has a ``teacher``.
        bank: stands for the leaving teacher too afterwards.
        leaving: the teacher beside which the trainer's teacher was learned.
        estimator_input: see :func:`~pml_incremental.strategies.estimation.feature_pairs`.
        passes: how often the training images are gone through.

    Raises:
        ValueError: if passes is below 1, estimator_input unknown, or the trainer has no teacher.
    """
    teacher = getattr(trainer, "teacher", None)
    if teacher is None:
        raise ValueError(
            "start_of_task needs a trainer with a teacher, such as "
            "IncrementalMetricLoss(teacher=Teacher.snapshot(models), ...)"
        )

    def images_of(batch: Any) -> Tensor:
        images, _ = trainer.data_and_label_getter(batch)
        moved: Tensor = c_f.to_device(images, device=trainer.data_device, dtype=trainer.dtype)
        return moved

    update_bank(
        bank,
        trainer.dataset,
        leaving,
        teacher,
        estimator_input=estimator_input,
        passes=passes,
        processes=getattr(trainer, "processes", None),
        collate_fn=trainer.collate_fn,
        images_of=images_of,
    )


class RandomState:
    """The state, now, of all generators that a PML trainer draws from; saved like a model.

    These are Python's, NumPy's and torch's on every device in use, and the order of the classes in
    a sampler such as PML's ``MPerClassSampler``, which shuffles it in place.

    Args:
        sampler: of the training batches, or None.

    Example:
        >>> import torch
        >>> now = RandomState()
        >>> drawn = torch.rand(1)
        >>> now.restore()
        >>> bool(torch.rand(1) == drawn)
        True
    """

    def __init__(self, sampler: Any = None) -> None:
        self._sampler = sampler
        self._state = {"streams": random_state(), "sampler": plain_attributes(sampler)}

    def restore(self) -> None:
        """Put all generators back to where they were."""
        restore_random_state(self._state["streams"])
        set_plain_attributes(self._sampler, self._state["sampler"])

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values, which ``torch.load`` reads without executing anything."""
        plain, tensors = pack_state(self._state)
        return {"plain": plain, "tensors": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put all generators to where they were when the state was taken."""
        tensors = {name: tensor.cpu() for name, tensor in state["tensors"].items()}
        self._state = unpack_state(state["plain"], tensors)
        self.restore()


class RecordLosses:
    """An end-of-iteration hook that records every loss as it entered the total: weighted.

    Draws no random numbers, so training goes as without it.

    Args:
        writer: gets the group ``losses``, step by step; the step is the iteration, counted from 0
            over all epochs.
        every: iterations between two records, at least 1.

    Raises:
        ValueError: if every is below 1.
    """

    def __init__(self, writer: RecordWriter, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1 iteration, got {every}")
        self.writer = writer
        self.every = every

    def __call__(self, trainer: Any) -> None:
        """Record the losses of this iteration, if it is one of those to record."""
        step = trainer.get_global_iteration()
        if step % self.every == 0:
            losses = {name: loss_value(loss) for name, loss in trainer.losses.items()}
            self.writer.scalars("losses", losses, step)


class RecordAccuracies:
    """An end-of-testing hook that records every split's metrics; the step is the epoch.

    Args:
        writer: gets a group ``test_<split>`` for each split.
    """

    def __init__(self, writer: RecordWriter) -> None:
        self.writer = writer

    def __call__(self, tester: Any) -> None:
        """Record what the tester measured."""
        for split, accuracies in tester.all_accuracies.items():
            values = {name: value for name, value in accuracies.items() if name != "epoch"}
            self.writer.scalars(f"test_{split}", values, int(accuracies["epoch"]))
