"""Training that can be gone on with where it was interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.distributed.data_parallel_mixin import DataParallelMixin
from pml_incremental.trainers.accumulation import Accumulation
from pml_incremental.trainers.batch_order import BatchOrder, in_batches
from pml_incremental.trainers.checkpointer import Checkpointer
from pml_incremental.trainers.data_loading_error import named_loading_errors
from pml_incremental.trainers.iteration_start import IterationStart
from pml_incremental.trainers.loading import training_loader
from pml_incremental.trainers.mixed_precision import Autocast, GradientScaling, Precision
from pml_incremental.trainers.non_finite import (
    REMEDY,
    FiniteCheck,
    NonFiniteLossError,
    is_finite,
    non_finite_error,
    number,
)
from pml_incremental.trainers.training_state import load_training_state, training_state

logger = logging.getLogger(__name__)


class ResumableMixin(DataParallelMixin):
    """A PML trainer's loop, with iterations that are whole or did not happen.

    An iteration is one step of the optimizers, whether it takes one batch or several. Schedulers by
    iteration step with the optimizers. Without further arguments it does what PML's loop does, on
    the same batches.

    Args:
        precision: that models compute in, ``"fp32"``, ``"bf16"`` or ``"fp16"``. Weights, losses,
            penalties and gradients stay float32. With fp16 the loss is scaled; a scale that turns
            out too high makes the step be left out, counted in ``scaling.skipped_steps``, which is
            no error.
        accumulation_steps: batches of an iteration, the mean of whose losses is stepped on. Each
            loss is that of a batch: it compares the images of that batch alone. An epoch without
            ``iterations_per_epoch`` stays one pass, with fewer batches in its last iteration if
            they do not divide.
        prefetch_factor: batches that each data loading process loads ahead; default: torch's.
        on_non_finite: what to do about a loss or gradient that is NaN or infinite: ``"raise"`` an
            error, or ``"skip"`` the iteration, which is logged and counted in ``skipped_batches``.
        check_finite_every: iterations between two looks at whether all is finite. Each makes a GPU
            be waited for. Above 1 what is not finite is found when weights are spoilt already;
            they are not saved, and training stops.
        checkpointer: saves the state now and then.
        description: text before the progress bar, such as the task's name.
        progress: whether to show a progress bar.
        **kwargs: the arguments of :class:`DataParallelMixin` and of the PML trainer.

    Raises:
        ValueError: if an argument is none of these, or if check_finite_every is above 1 with fp16
            or ``"skip"``, which have to know before each step.
        NonFiniteLossError: while training, naming the loss, the iteration and the images; the step
            that would have spoilt the weights is not taken. With ``"skip"``, if it is so in all
            batches of an epoch.
        DataLoadingError: while training, if a data loading process is killed.
    """

    def __init__(
        self,
        *args: Any,
        precision: Precision = "fp32",
        accumulation_steps: int = 1,
        prefetch_factor: int | None = None,
        on_non_finite: Literal["raise", "skip"] = "raise",
        check_finite_every: int = 1,
        checkpointer: Checkpointer | None = None,
        description: str = "",
        progress: bool = True,
        **kwargs: Any,
    ) -> None:
        if on_non_finite not in ("raise", "skip"):
            raise ValueError(f'on_non_finite must be "raise" or "skip", got {on_non_finite!r}')
        if check_finite_every > 1 and (on_non_finite == "skip" or precision == "fp16"):
            raise ValueError(
                "on_non_finite: skip and precision: fp16 have to know before each step whether all "
                f"is finite: leave out check_finite_every, got {check_finite_every}"
            )
        self.on_non_finite = on_non_finite
        self.finite_check = FiniteCheck(check_finite_every)
        self.accumulation = Accumulation(accumulation_steps)
        self.prefetch_factor = prefetch_factor
        self.checkpointer = checkpointer
        self.description = description
        self.progress = progress
        self.skipped_batches = 0
        #: The epoch, counted from 1, and how many of its iterations are done.
        self.position = (1, 0)
        #: Indices into the dataset of this iteration's images.
        self.images: list[int] = []
        #: Whether the optimizers have stepped in this iteration, which cannot be undone any more.
        self.has_stepped = False
        self.has_overflowed = False
        self.losses: dict[str, Any]
        super().__init__(*args, **kwargs)
        device = torch.device(self.data_device)
        self.autocast = Autocast(precision, device)
        self.scaling = GradientScaling(precision, device)

    def initialize_dataloader(self) -> None:
        """As PML's, with an order of batches that can be gone on with.

        Images that other processes load are seeded one by one, as those processes' own random
        streams could not be gone on with.
        """
        workers = self.dataloader_num_workers
        batches = in_batches(self.sampler, self.dataset, self.batch_size)
        self.batch_order = BatchOrder(batches, seeded=workers > 0, processes=self.processes)
        self.dataloader: DataLoader[Any] = training_loader(
            self.dataset,
            self.batch_order,
            workers,
            self.prefetch_factor,
            self.collate_fn,
            torch.device(self.data_device),
        )
        if not self.iterations_per_epoch:
            self.iterations_per_epoch = self.accumulation.iterations_in_pass(len(self.dataloader))
        self.dataloader_iter: Any = iter(self.dataloader)

    def state_dict(self) -> dict[str, Any]:
        """All that training changes; see :func:`training_state`.

        Raises:
            NonFiniteLossError: if ``check_finite_every`` is above 1 and the weights are spoilt.
        """
        self.finite_check.settle(self)
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
        del self.dataloader
        self.leave_network()

    def train_epoch(self, bar: tqdm[Any], num_epochs: int) -> None:
        """What is left of an epoch; losses are read for the bar only when it is drawn."""
        self.set_to_train()
        skipped_before = self.skipped_batches
        for iteration in range(self.position[1], self.iterations_per_epoch):
            self.iteration = iteration
            self.train_iteration()
            if bar.update():
                losses = {name: f"{number(loss):.3g}" for name, loss in self.losses.items()}
                bar.set_postfix({"epoch": f"{self.epoch}/{num_epochs}", **losses}, refresh=False)
            self.step_lr_schedulers(end_of_epoch=False)
            self.position = (self.epoch, iteration + 1)
            if self.checkpointer is not None:
                self.checkpointer.after_iteration(self)
        if self.skipped_batches - skipped_before == self.iterations_per_epoch:
            raise NonFiniteLossError(f"all batches of epoch {self.epoch} were skipped: {REMEDY}")
        self.finite_check.settle(self)
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
        try:
            self.forward_and_backward()
        except Exception as error:
            if self.has_stepped:
                raise
            start.restore_modules()
            self.scaling.forget_step()
            if isinstance(error, NonFiniteLossError) and self.on_non_finite == "skip":
                self.skip_batch(error)
                return
            self.batch_order.back_to(mark)
            start.restore_random_state()
            if self.checkpointer is not None:
                self.checkpointer.after_failure(self, error)
            raise
        self.end_of_iteration_hook(self)

    def forward_and_backward(self) -> None:
        """As PML's, of as many batches as an iteration has."""
        self.images, self.has_stepped, self.has_overflowed = [], False, False
        super().forward_and_backward()

    def skip_batch(self, error: NonFiniteLossError) -> None:
        """Leave out an iteration whose gradients would spoil the weights."""
        self.skipped_batches += 1
        self.zero_grad()
        self.zero_losses()
        logger.warning("batch skipped, the %d. so far: %s", self.skipped_batches, error)

    def get_batch(self) -> Any:
        """As PML's, counted."""
        batch = super().get_batch()
        self.batch_order.take()
        self.images += self.batch_order.last_taken
        return batch

    def get_trunk_output(self, data: Tensor) -> Any:
        """As PML's, in the trainer's precision."""
        return self.autocast(super().get_trunk_output, data)

    def get_final_embeddings(self, base_output: Tensor) -> Any:
        """As PML's, in the trainer's precision."""
        return self.autocast(super().get_final_embeddings, base_output)

    def batch_images(self) -> list[str]:
        """What to call the images of this iteration: their files, if the dataset knows."""
        name_of = getattr(self.dataset, "image_name", "image {}".format)
        return [name_of(index) for index in self.images]

    def trained_modules(self) -> dict[str, nn.Module]:
        """Models and loss functions by name."""
        return {**self.models, **self.loss_funcs}

    def backward(self) -> None:
        """Back-propagate all batches of the iteration, and refuse what is not finite."""
        self.accumulate_gradients()
        self.share_gradients()
        self.scaling.unscale(self.optimizers.values())
        if self.finite_check.before_step(self):
            return
        self.has_overflowed = is_finite(self.losses["total_loss"]) and self.scaling.may_lower()
        if not self.has_overflowed:
            raise non_finite_error(self)

    def accumulate_gradients(self) -> None:
        """Back-propagate the batch at hand and, if the iteration has more, each of those."""
        batches = self.accumulation.batches_in(self.iteration, self.iterations_per_epoch)
        self.back_propagate(batches)
        if batches == 1:
            return
        sums = {name: torch.as_tensor(loss).detach() for name, loss in self.losses.items()}
        for _ in range(batches - 1):
            self.zero_losses()
            self.calculate_loss(self.get_batch())  # type: ignore[call-arg]
            self.loss_tracker.update(self.loss_weights)
            self.back_propagate(batches)
            for name, loss in self.losses.items():
                sums[name] = sums[name] + torch.as_tensor(loss).detach()
        self.losses.update({name: total / batches for name, total in sums.items()})

    def back_propagate(self, batches: int) -> None:
        """As PML's ``backward`` does, one of so many batches, and scaled if need be."""
        total = self.losses["total_loss"]
        share = total if batches == 1 else total / batches
        self.losses["total_loss"] = self.scaling.scale(share)
        super().backward()
        self.losses["total_loss"] = total

    def step_optimizers(self) -> None:
        """Step; from here on the iteration cannot be undone."""
        if self.has_overflowed:
            self.scaling.skip_step()
            return
        self.has_stepped = True
        super().step_optimizers()
        self.scaling.after_step()
        self.finite_check.after_step(self)

    def step_lr_schedulers(self, end_of_epoch: bool = False) -> None:
        """As PML's, those by iteration only if the optimizers have stepped."""
        if end_of_epoch or self.has_stepped:
            super().step_lr_schedulers(end_of_epoch)
