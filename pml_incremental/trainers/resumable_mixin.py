"""Training that can be gone on with where it was interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any, Literal

from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.distributed.data_parallel_mixin import DataParallelMixin
from pml_incremental.trainers.batch_order import BatchOrder, in_batches
from pml_incremental.trainers.checkpointer import Checkpointer
from pml_incremental.trainers.data_loading_error import named_loading_errors
from pml_incremental.trainers.iteration_start import IterationStart
from pml_incremental.trainers.non_finite import (
    REMEDY,
    NonFiniteLossError,
    check_finite,
    number,
)
from pml_incremental.trainers.seeded_items import SeededItems
from pml_incremental.trainers.training_state import load_training_state, training_state

logger = logging.getLogger(__name__)


class ResumableMixin(DataParallelMixin):
    """A PML trainer's loop, with iterations that are whole or did not happen.

    Without a checkpointer it does what PML's loop does, on the same batches.

    Args:
        on_non_finite: what to do about a loss or gradient that is NaN or infinite: ``"raise"`` an
            error, or ``"skip"`` the batch, which is logged and counted in ``skipped_batches``.
        checkpointer: saves the state now and then.
        description: text before the progress bar, such as the task's name.
        progress: whether to show a progress bar.
        **kwargs: the arguments of :class:`DataParallelMixin` and of the PML trainer.

    Raises:
        ValueError: if on_non_finite is another.
        NonFiniteLossError: while training, naming the loss, the iteration and the images; the step
            that would have spoilt the weights is not taken. With ``"skip"``, if it is so in all
            batches of an epoch.
        DataLoadingError: while training, if a data loading process is killed.
    """

    def __init__(
        self,
        *args: Any,
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
        self.description = description
        self.progress = progress
        self.skipped_batches = 0
        #: The epoch, counted from 1, and how many of its iterations are done.
        self.position = (1, 0)
        self.losses: dict[str, Any]
        super().__init__(*args, **kwargs)

    def initialize_dataloader(self) -> None:
        """As PML's, with an order of batches that can be gone on with.

        Images that other processes load are seeded one by one, as those processes' own random
        streams could not be gone on with.
        """
        workers = self.dataloader_num_workers
        batches = in_batches(self.sampler, self.dataset, self.batch_size)
        self.batch_order = BatchOrder(batches, seeded=workers > 0, processes=self.processes)
        seeded = self.batch_order.gives_seeds
        self.dataloader: DataLoader[Any] = DataLoader(
            SeededItems(self.dataset, workers == 0) if seeded else self.dataset,
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

    def batch_images(self) -> list[str]:
        """What to call the images of the batch used last: their files, if the dataset knows."""
        name_of = getattr(self.dataset, "image_name", "image {}".format)
        return [name_of(index) for index in self.batch_order.last_taken]

    def trained_modules(self) -> dict[str, nn.Module]:
        """Models and loss functions by name."""
        return {**self.models, **self.loss_funcs}

    def backward(self) -> None:
        """Back-propagate, and refuse what is not finite."""
        super().backward()
        check_finite(self)

    def step_optimizers(self) -> None:
        """Step; from here on the iteration cannot be undone."""
        self.is_stepping = True
        super().step_optimizers()
