"""A step of the optimizers: on several batches, in half precision, refused if not finite."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pml_incremental.trainers.data_parallel_mixin import DataParallelMixin
from pml_incremental.trainers.numerics import (
    Autocast,
    FiniteCheck,
    GradientScaling,
    Precision,
    is_finite,
    non_finite_error,
)


class StepMixin(DataParallelMixin):
    """What PML's ``forward_and_backward`` does, of any number of batches and in any precision.

    Args:
        precision: that models compute in, ``"fp32"``, ``"bf16"`` or ``"fp16"``. Weights, losses,
            penalties and gradients stay float32. With fp16 the loss is scaled; a scale that turns
            out too high makes the step be left out, counted in ``scaling.skipped_steps``, which is
            no error.
        accumulation_steps: batches of an iteration, the mean of whose losses is stepped on. Each
            loss is that of a batch: it compares the images of that batch alone. An epoch without
            ``iterations_per_epoch`` stays one pass, with fewer batches in its last iteration if
            they do not divide.
        check_finite_every: iterations between two looks at whether all is finite. Each makes a GPU
            be waited for. Above 1 what is not finite is found when weights are spoilt already;
            they are not saved, and training stops.
        **kwargs: the arguments of :class:`DataParallelMixin` and of the PML trainer.

    Raises:
        ValueError: if an argument is none of these, or if check_finite_every is above 1 with fp16,
            which has to know before each step.
        NonFiniteLossError: while training, naming the loss, the iteration and the images; the step
            that would have spoilt the weights is not taken.
    """

    losses: dict[str, Any]

    def __init__(
        self,
        *args: Any,
        precision: Precision = "fp32",
        accumulation_steps: int = 1,
        check_finite_every: int = 1,
        **kwargs: Any,
    ) -> None:
        if check_finite_every > 1 and precision == "fp16":
            raise ValueError(
                "precision: fp16 has to know before each step whether all is finite: leave out "
                f"check_finite_every, got {check_finite_every}"
            )
        self.finite_check = FiniteCheck(check_finite_every)
        self.accumulation = Accumulation(accumulation_steps)
        #: Indices into the dataset of this iteration's images.
        self.images: list[int] = []
        #: Whether the optimizers have stepped in this iteration, which cannot be undone any more.
        self.has_stepped = False
        #: Whether gradients of this iteration are not finite for a loss scaled too high.
        self.has_overflowed = False
        super().__init__(*args, **kwargs)
        device = torch.device(self.data_device)
        self.autocast = Autocast(precision, device)
        self.scaling = GradientScaling(precision, device)

    def forward_and_backward(self) -> None:
        """As PML's, of as many batches as an iteration has."""
        self.images, self.has_stepped, self.has_overflowed = [], False, False
        super().forward_and_backward()

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

    def trained_modules(self) -> dict[str, nn.Module]:
        """Models and loss functions by name."""
        return {**self.models, **self.loss_funcs}

    def batch_images(self) -> list[str]:
        """What to call the images of this iteration: their files, if the dataset knows."""
        name_of = getattr(self.dataset, "image_name", "image {}".format)
        return [name_of(index) for index in self.images]


class Accumulation:
    """Batches whose gradients are accumulated for one optimizer step: an iteration."""

    def __init__(self, steps: int = 1) -> None:
        if steps < 1:
            raise ValueError(f"accumulation_steps must be at least 1, got {steps}")
        self.steps = steps
        self._left_over = 0

    def iterations_in_pass(self, batches: int) -> int:
        """How many iterations a pass over the data takes, if an epoch is to be one."""
        self._left_over = batches % self.steps
        return -(-batches // self.steps)

    def batches_in(self, iteration: int, iterations_per_epoch: int) -> int:
        """Batches of an iteration."""
        is_last = iteration + 1 == iterations_per_epoch
        return self._left_over if is_last and self._left_over else self.steps
