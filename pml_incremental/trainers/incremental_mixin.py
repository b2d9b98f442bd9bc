"""What turns a PML trainer into an incremental one."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from pytorch_metric_learning.trainers.base_trainer import BaseTrainer
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.trainers.batch_order import BatchOrder, in_batches
from pml_incremental.trainers.checkpointer import Checkpointer
from pml_incremental.trainers.data_loading_error import named_loading_errors
from pml_incremental.trainers.iteration_start import IterationStart
from pml_incremental.trainers.seeded_items import SeededItems
from pml_incremental.trainers.step_observer import StepObserver
from pml_incremental.trainers.teacher import Teacher
from pml_incremental.trainers.training_state import (
    gradients_are_finite,
    load_training_state,
    named_gradients,
    training_state,
)

logger = logging.getLogger(__name__)

#: A scalar that depends on the parameters of models and loss functions, given by name.
Penalty: TypeAlias = Callable[[Mapping[str, nn.Module]], Tensor]

#: What a distillation loss is given of student and teacher.
Compared: TypeAlias = Literal["embeddings", "logits", "features"]


class NonFiniteLossError(ValueError):
    """A loss or gradient became NaN or infinite; the weights are those of before the iteration."""


class IncrementalMixin(BaseTrainer):
    """Adds a frozen teacher and named distillation losses to a PML trainer.

    Put it before the PML trainer in the bases. Every entry of ``loss_funcs`` that the PML trainer
    does not know (``correlation_loss``, ``estimation_loss``, ...) is a distillation loss: it is
    called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)`` and weighted by
    ``loss_weights`` like the others. Without a teacher (the first task) distillation losses are
    zero and the trainer does exactly what the PML trainer does.

    The teacher is kept outside ``models``: PML saves, records and zeroes the gradients of
    everything there.

    Args:
        teacher: the model to learn beside, or None for the first task.
        compares: distillation losses that compare something other than embeddings, by name:
            ``"logits"`` of both, or the student's embeddings with the teacher's ``"features"``,
            which are its embeddings followed by the output of its trunk.
        penalties: by name, each added to the total with its entry of ``loss_weights``.
        observers: told of every optimizer step.
        freeze_trunk_batchnorm: as in PML, or ``"with_teacher"``: only when there is a teacher, for
            trunks that start from scratch.
        on_non_finite: what to do about a loss or gradient that is NaN or infinite: ``"raise"`` an
            error, or ``"skip"`` the batch, which is logged and counted in ``skipped_batches``.
        checkpointer: saves the state now and then.
        description: text before the progress bar, such as the task's name.
        progress: whether to show a progress bar.
        **kwargs: the arguments of the PML trainer.

    Raises:
        ValueError: if a loss compares logits and there is no classifier, a penalty is named as a
            loss, or on_non_finite is another.
        NonFiniteLossError: while training, naming the loss, the iteration and the images; the step
            that would have spoilt the weights is not taken. With ``"skip"``, if it is so in all
            batches of an epoch.
        DataLoadingError: while training, if a data loading process is killed.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Teacher | None = None,
        compares: Mapping[str, Compared] | None = None,
        penalties: Mapping[str, Penalty] | None = None,
        observers: Sequence[StepObserver] = (),
        freeze_trunk_batchnorm: bool | Literal["with_teacher"] = False,
        on_non_finite: Literal["raise", "skip"] = "raise",
        checkpointer: Checkpointer | None = None,
        description: str = "",
        progress: bool = True,
        **kwargs: Any,
    ) -> None:
        if on_non_finite not in ("raise", "skip"):
            raise ValueError(f'on_non_finite must be "raise" or "skip", got {on_non_finite!r}')
        self.on_non_finite = on_non_finite
        self.checkpointer = checkpointer
        self.skipped_batches = 0
        #: The epoch, counted from 1, and how many of its iterations are done.
        self.position = (1, 0)
        self.teacher = teacher
        self.compares = dict(compares or {})
        self.penalties = dict(penalties or {})
        self.observers = tuple(observers)
        self.description = description
        self.progress = progress
        self.last_embeddings: Tensor | None = None
        self.losses: dict[str, Any]
        if freeze_trunk_batchnorm == "with_teacher":
            freeze_trunk_batchnorm = teacher is not None
        kwargs["freeze_trunk_batchnorm"] = freeze_trunk_batchnorm
        super().__init__(*args, **kwargs)

    def custom_setup(self) -> None:
        """Give the penalties their places among the losses."""
        super().custom_setup()
        of_logits = [name for name, kind in self.compares.items() if kind == "logits"]
        if of_logits and "classifier" not in self.models:
            raise ValueError(
                f"{' and '.join(of_logits)} compares logits, but models has no classifier: "
                "add one and use IncrementalTrainWithClassifier"
            )
        taken = [name for name in self.penalties if name in self.loss_funcs]
        if taken:
            raise ValueError(f"{' and '.join(taken)} is both a loss and a penalty: rename one")
        self.loss_names += list(self.penalties)

    def modify_schema(self) -> None:
        """Let the losses that PML does not know in, as distillation losses."""
        super().modify_schema()
        known = self.schema["loss_funcs"].keys
        self.distillation_losses = [name for name in self.loss_funcs if name not in known]
        self.schema["loss_funcs"].keys = known + self.distillation_losses

    def initialize_dataloader(self) -> None:
        """As PML's, with an order of batches that can be gone on with.

        Images that other processes load are seeded one by one, as those processes' own random
        streams could not be gone on with.
        """
        workers = self.dataloader_num_workers
        batches = in_batches(self.sampler, self.dataset, self.batch_size)
        self.batch_order = BatchOrder(batches, seeded=workers > 0)
        self.dataloader: DataLoader[Any] = DataLoader(
            SeededItems(self.dataset) if workers > 0 else self.dataset,
            batch_sampler=self.batch_order,
            num_workers=workers,
            collate_fn=self.collate_fn,
        )
        if not self.iterations_per_epoch:
            self.iterations_per_epoch = len(self.dataloader)
        self.dataloader_iter: Any = iter(self.dataloader)

    def state_dict(self) -> dict[str, Any]:
        """All that training changes; see :func:`training_state`."""
        return training_state(self)

    @named_loading_errors()
    def train(
        self, start_epoch: int = 1, num_epochs: int = 1, state: Mapping[str, Any] | None = None
    ) -> None:
        """Train as PML's trainer does, with one progress bar over all epochs.

        Args:
            start_epoch: the first epoch, counted from 1.
            num_epochs: the last epoch.
            state: what :meth:`state_dict` gave while training with the same arguments, to go on
                from there; training then ends as if it had not been interrupted.
        """
        self.initialize_dataloader()
        self.position = (start_epoch, 0)
        if state is not None:
            load_training_state(self, state)
        total = (num_epochs - start_epoch + 1) * self.iterations_per_epoch
        done = (self.position[0] - start_epoch) * self.iterations_per_epoch + self.position[1]
        # A log file wants a line now and then, not an animation.
        interval = 0.2 if sys.stderr.isatty() else 10.0
        with tqdm(
            total=total,
            initial=done,
            desc=self.description,
            disable=not self.progress,
            mininterval=interval,
        ) as bar:
            for epoch in range(self.position[0], num_epochs + 1):
                self.epoch = epoch
                self.train_epoch(bar, num_epochs)
                goes_on = self.end_of_epoch_hook(self) is not False
                self.position = (epoch + 1 if goes_on else num_epochs + 1, 0)
                if self.checkpointer is not None:
                    self.checkpointer.after_epoch(self)
                if not goes_on:
                    break
        # Idle workers would be copied into those of the next task, which then complain.
        self.dataloader_iter = None

    def train_epoch(self, bar: tqdm[Any], num_epochs: int) -> None:
        """What is left of an epoch; losses are read for the bar only when it is drawn."""
        self.set_to_train()
        skipped_before = self.skipped_batches
        for iteration in range(self.position[1], self.iterations_per_epoch):
            self.iteration = iteration
            self.train_iteration()
            if bar.update():
                losses = {name: f"{_number(loss):.3g}" for name, loss in self.losses.items()}
                bar.set_postfix({"epoch": f"{self.epoch}/{num_epochs}", **losses}, refresh=False)
            self.step_lr_schedulers(end_of_epoch=False)
            self.position = (self.epoch, iteration + 1)
            if self.checkpointer is not None:
                self.checkpointer.after_iteration(self)
        if self.skipped_batches - skipped_before == self.iterations_per_epoch:
            raise NonFiniteLossError(f"all batches of epoch {self.epoch} were skipped: {_REMEDY}")
        self.step_lr_schedulers(end_of_epoch=True)
        self.zero_losses()

    def train_iteration(self) -> None:
        """One iteration, or none of it."""
        if self.checkpointer is None and self.on_non_finite == "raise":
            self.forward_and_backward()
            self.end_of_iteration_hook(self)
            return
        helpers = [*self.loss_funcs.values(), *self.mining_funcs.values()]
        modules = [helper for helper in helpers if isinstance(helper, nn.Module)]
        start = IterationStart(self.models.values(), modules)
        mark = self.batch_order.mark()
        self.is_stepping = False
        try:
            self.forward_and_backward()
        except Exception as error:
            if self.is_stepping:
                raise
            start.restore_modules()
            if isinstance(error, NonFiniteLossError) and self.on_non_finite == "skip":
                self.skip_batch(error)
                return
            self.batch_order.back_to(mark)
            start.restore_random_state()
            if self.checkpointer is not None:
                self.checkpointer.after_failure(self, error)
            raise
        self.end_of_iteration_hook(self)

    def skip_batch(self, error: NonFiniteLossError) -> None:
        """Leave out a batch whose gradients would spoil the weights."""
        self.skipped_batches += 1
        self.zero_grad()
        self.zero_losses()
        logger.warning("batch skipped, the %d. so far: %s", self.skipped_batches, error)

    def get_batch(self) -> Any:
        """As PML's, counted."""
        batch = super().get_batch()
        self.batch_order.take()
        return batch

    def calculate_loss(self, curr_batch: tuple[Tensor, Tensor]) -> None:  # type: ignore[override]
        """The PML trainer's losses, then the distillation losses on the same embeddings."""
        super().calculate_loss(curr_batch)  # type: ignore[call-arg]
        data, labels = curr_batch
        embeddings, self.last_embeddings = self.last_embeddings, None
        assert embeddings is not None
        if self.teacher is not None and self.distillation_losses:
            self.losses.update(self.compute_distillation(self.teacher, embeddings, data, labels))
        for name, penalty in self.penalties.items():
            if self.loss_weights[name] != 0:
                self.losses[name] = penalty(self.trained_modules())

    def trained_modules(self) -> dict[str, nn.Module]:
        """Models and loss functions by name."""
        return {**self.models, **self.loss_funcs}

    def compute_distillation(
        self, teacher: Teacher, embeddings: Tensor, data: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Every distillation loss whose weight is not 0, by name."""
        wanted = {
            name: self.compares.get(name, "embeddings")
            for name in self.distillation_losses
            if self.loss_weights.get(name, 1) != 0
        }
        if not wanted:
            return {}
        images = c_f.to_device(data, device=self.data_device, dtype=self.dtype)
        targets, features = teacher.embed_with_features(images)
        pairs = {"embeddings": (embeddings, targets)}
        if "features" in wanted.values():
            pairs["features"] = embeddings, torch.cat([targets, features], dim=1)
        if "logits" in wanted.values():
            pairs["logits"] = self.models["classifier"](embeddings), teacher.classify(targets)
        losses = {}
        for name, kind in wanted.items():
            student, target = pairs[kind]
            losses[name] = self.loss_funcs[name](student, labels, ref_emb=target)
        return losses

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """The student's embeddings, kept until the distillation losses have seen them."""
        embeddings: Tensor = super().compute_embeddings(data)
        self.last_embeddings = embeddings
        return embeddings

    def backward(self) -> None:
        """Back-propagate, and refuse what is not finite."""
        super().backward()
        if not gradients_are_finite(self, self.losses["total_loss"]):
            raise NonFiniteLossError(self.describe_non_finite())
        for observer in self.observers:
            observer.before_step(self.trained_modules())

    def step_optimizers(self) -> None:
        """Step, and tell the observers."""
        self.is_stepping = True
        super().step_optimizers()
        for observer in self.observers:
            observer.after_step(self.trained_modules(), self.teacher)

    def describe_non_finite(self) -> str:
        """Which loss or gradient is not finite, where in training, and what to do."""
        values = {name: _number(loss) for name, loss in self.losses.items()}
        losses = [
            name
            for name, value in values.items()
            if name != "total_loss" and not math.isfinite(value)
        ]
        if not losses and math.isfinite(values["total_loss"]):
            losses = [
                f"the gradient of {name}"
                for name, gradient in named_gradients(self)
                if not gradient.isfinite().all()
            ]
        listed = ", ".join(f"{name} = {value:g}" for name, value in values.items())
        return (
            f"{' and '.join(losses) or 'total_loss'} is not finite at epoch {self.epoch}, "
            f"iteration {self.iteration + 1} of {self.iterations_per_epoch} ({listed}), with "
            f"{', '.join(self.batch_images())}. The weights are those of before this iteration. "
            f"{_REMEDY}"
        )

    def batch_images(self) -> list[str]:
        """What to call the images of the batch used last: their files, if the dataset knows."""
        name_of = getattr(self.dataset, "image_name", "image {}".format)
        return [name_of(index) for index in self.batch_order.last_taken]


_REMEDY = (
    "Lower the learning rate, clip the gradients, look for images that give NaN embeddings, or "
    "leave such batches out with on_non_finite: skip"
)


def _number(loss: Tensor | float) -> float:
    return float(loss.detach()) if isinstance(loss, Tensor) else float(loss)
