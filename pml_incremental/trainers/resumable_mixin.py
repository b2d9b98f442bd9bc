"""Training that can be resumed where it was interrupted."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.trainers._terms import loss_value
from pml_incremental.trainers.batches import BatchOrder, in_batches, training_loader
from pml_incremental.trainers.numerics import REMEDY, NonFiniteLossError
from pml_incremental.trainers.step_mixin import StepMixin
from pml_incremental.trainers.training_state import (
    load_training_state,
    plain_attributes,
    random_state,
    restore_random_state,
    set_plain_attributes,
    training_state,
)
from pml_incremental.wording import counted


class DataLoadingError(ChildProcessError):
    """A process that loads images is gone; the weights are those of before the iteration."""


@contextmanager
def named_loading_errors() -> Iterator[None]:
    """Say what to do if a loading process dies; torch raises that anywhere in the main process."""
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataLoadingError(
            f"a process that loads images was killed, often because memory ran out: {error}. Use "
            "fewer (dataloader_num_workers) or smaller batches, and start again"
        ) from error


logger = logging.getLogger(__name__)


class ResumableMixin(StepMixin):
    """A PML trainer's loop, with iterations that are whole or did not happen.

    An iteration is one step of the optimizers, whether it takes one batch or several. Schedulers by
    iteration step with the optimizers. Without further arguments it does what PML's loop does, on
    the same batches.

    Args:
        prefetch_factor: batches that each data loading process loads ahead; default: torch's.
        on_non_finite: what to do about a loss or gradient that is NaN or infinite: ``"raise"`` an
            error, or ``"skip"`` the iteration, which is logged and counted in ``skipped_batches``.
        checkpointer: saves the state now and then.
        description: text before the progress bar, such as the task's name.
        progress: whether to show a progress bar.
        **kwargs: the arguments of :class:`StepMixin` and of the PML trainer.

    Raises:
        ValueError: if on_non_finite is none of these, or if it is ``"skip"`` with
            check_finite_every above 1, as it has to know before each step.
        NonFiniteLossError: while training, as :class:`StepMixin` does; with ``"skip"``, if it is so
            in all batches of an epoch.
        DataLoadingError: while training, if a data loading process is killed.
    """

    def __init__(
        self,
        *args: Any,
        prefetch_factor: int | None = None,
        on_non_finite: Literal["raise", "skip"] = "raise",
        checkpointer: Checkpointer | None = None,
        description: str = "",
        progress: bool = True,
        **kwargs: Any,
    ) -> None:
        if on_non_finite not in ("raise", "skip"):
            raise ValueError(f'on_non_finite must be "raise" or "skip", got {on_non_finite!r}')
        self.on_non_finite = on_non_finite
        self.prefetch_factor = prefetch_factor
        self.checkpointer = checkpointer
        self.description = description
        self.progress = progress
        self.skipped_batches = 0
        #: The epoch, counted from 1, and how many of its iterations are done.
        self.position = (1, 0)
        super().__init__(*args, **kwargs)
        if on_non_finite == "skip" and self.finite_check.every > 1:
            raise ValueError(
                "on_non_finite: skip has to know before each step whether all is finite: leave out "
                f"check_finite_every, got {self.finite_check.every}"
            )

    def initialize_dataloader(self) -> None:
        """As PML's, with an order of batches that can be resumed.

        Images that other processes load are seeded one by one, as those processes' own random
        streams could not be resumed.
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
        if len(self.dataloader) == 0:
            raise ValueError(
                f"there is no batch to learn from: batch_size is {self.batch_size}, of "
                f"{counted(len(self.dataset), 'image')}; lower batch_size, or add images"
            )
        if not self.iterations_per_epoch:
            self.iterations_per_epoch = self.accumulation.iterations_in_pass(len(self.dataloader))
        self.dataloader_iter: Any = iter(self.dataloader)

    def state_dict(self) -> dict[str, Any]:
        """All that training changes; see :func:`training_state`.

        Raises:
            NonFiniteLossError: if ``check_finite_every`` is above 1 and the weights are damaged.
        """
        self.finite_check.check_pending(self)
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
        with self.progress_bar(done, total) as bar:
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

    def progress_bar(self, done: int, total: int) -> tqdm[Any]:
        """Over iterations, of which so many are done."""
        # A log file wants a line now and then, not an animation.
        interval = 0.2 if sys.stderr.isatty() else 10.0
        return tqdm(
            total=total,
            initial=done,
            desc=self.description,
            disable=not self.progress,
            mininterval=interval,
        )

    def train_epoch(self, bar: tqdm[Any], num_epochs: int) -> None:
        """What is left of an epoch; losses are read for the bar only when it is drawn."""
        self.set_to_train()
        skipped_before = self.skipped_batches
        for iteration in range(self.position[1], self.iterations_per_epoch):
            self.iteration = iteration
            self.train_iteration()
            if bar.update():
                losses = {name: f"{loss_value(loss):.3g}" for name, loss in self.losses.items()}
                bar.set_postfix({"epoch": f"{self.epoch}/{num_epochs}", **losses}, refresh=False)
            self.step_lr_schedulers(end_of_epoch=False)
            self.position = (self.epoch, iteration + 1)
            if self.checkpointer is not None:
                self.checkpointer.after_iteration(self)
        if self.skipped_batches - skipped_before == self.iterations_per_epoch:
            raise NonFiniteLossError(f"all batches of epoch {self.epoch} were skipped: {REMEDY}")
        self.finite_check.check_pending(self)
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

    def skip_batch(self, error: NonFiniteLossError) -> None:
        """Leave out an iteration whose gradients would spoil the weights."""
        self.skipped_batches += 1
        self.zero_grad()
        self.zero_losses()
        logger.warning("batch skipped, the %d. so far: %s", self.skipped_batches, error)

    def step_lr_schedulers(self, end_of_epoch: bool = False) -> None:
        """As PML's, those by iteration only if the optimizers have stepped."""
        if end_of_epoch or self.has_stepped:
            super().step_lr_schedulers(end_of_epoch)


class IterationStart:
    """What a forward pass changes, as it was before.

    These are the buffers of all modules, such as BatchNorm's statistics, which a NaN would spoil
    for good, what losses and miners keep in plain attributes, and the random streams.
    """

    def __init__(self, models: Iterable[nn.Module], helpers: Iterable[nn.Module]) -> None:
        helpers = [part for helper in helpers for part in helper.modules()]
        buffers = [buffer for model in models for buffer in model.buffers()]
        buffers += [buffer for helper in helpers for buffer in helper.buffers(recurse=False)]
        self._buffers = [(buffer, buffer.clone()) for buffer in buffers]
        self._attributes = [(helper, plain_attributes(helper)) for helper in helpers]
        self._random = random_state()

    @torch.no_grad()
    def restore_modules(self) -> None:
        """Bring back the buffers and attributes."""
        for buffer, before in self._buffers:
            buffer.copy_(before)
        for helper, attributes in self._attributes:
            set_plain_attributes(helper, attributes)

    def restore_random_state(self) -> None:
        """Bring back the random streams."""
        restore_random_state(self._random)


class Checkpointer(Protocol):
    """Called by a trainer where its ``state_dict`` is that of a whole iteration."""

    def after_iteration(self, trainer: ResumableMixin) -> None:
        """Called after every iteration.

        Args:
            trainer: as the next iteration will find it.
        """

    def after_epoch(self, trainer: ResumableMixin) -> None:
        """Called after every epoch, when schedulers have stepped and hooks were called.

        Args:
            trainer: as the next epoch will find it.
        """

    def after_failure(self, trainer: ResumableMixin, error: Exception) -> None:
        """Called when an iteration failed before it changed a weight.

        Args:
            trainer: as the failed iteration found it.
            error: what happened; it is raised again afterwards.
        """
