"""A step of the optimizers: shared by processes, on several batches, in half precision, finite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_metric_learning.trainers.base_trainer import BaseTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pml_incremental.distributed.processes import Processes, average_gradients
from pml_incremental.functional.checks import check_label_numbers
from pml_incremental.signatures import WholeSignature
from pml_incremental.trainers.batches import BatchOrder
from pml_incremental.trainers.numerics import (
    Autocast,
    FiniteCheck,
    GradientScaling,
    Precision,
    is_finite,
    non_finite_error,
)

_EMBEDDING_MODELS = ("trunk", "embedder")


class DataParallelMixin(BaseTrainer):
    """Each process embeds its share of a batch; everything after that sees the whole batch.

    Embeddings and labels are gathered, so that losses, miners, classifier and penalties are those
    of one process, computed by each process alike. Trunk and embedder are trained through
    ``DistributedDataParallel``; ``models`` holds the bare ones, also in state dicts.

    All random numbers are the same in all processes, except those within trunk and embedder
    (dropout), which each process draws from a stream of its own.

    Args:
        processes: that share the batches; default: this one has them for itself.
        **kwargs: the arguments of the PML trainer.

    Raises:
        ValueError: if there are several and a ``subset_batch_miner``, which takes images away.
    """

    __signature__ = WholeSignature()
    batch_order: BatchOrder

    def __init__(self, *args: Any, processes: Processes | None = None, **kwargs: Any) -> None:
        self.processes = Processes() if processes is None else processes
        self._network: nn.Module | None = None
        super().__init__(*args, **kwargs)

    def custom_setup(self) -> None:
        """Refuse what cannot be shared."""
        super().custom_setup()
        if self.processes.is_distributed and "subset_batch_miner" in self.mining_funcs:
            raise ValueError(
                "a subset_batch_miner chooses images of the whole batch, which no process of "
                "several has: use a tuple_miner, or one process"
            )

    def initialize_data_and_label_getter(self) -> None:
        """As PML's, and refuse labels that are text."""
        super().initialize_data_and_label_getter()
        getter = self.data_and_label_getter

        def checked(batch: Any) -> Any:
            data, labels = getter(batch)
            check_label_numbers(labels)
            return data, labels

        self.data_and_label_getter = checked

    def get_batch(self) -> Any:
        """The images of this process, and the labels of all."""
        data, labels = super().get_batch()
        return data, self.processes.gather(labels)

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """The embeddings of the whole batch, of this process's images."""
        if not self.processes.is_distributed:
            alone: Tensor = super().compute_embeddings(data)
            return alone
        if self._network is None:
            self._network = self._data_parallel(super().compute_embeddings)
        with self._own_stream():
            own = self._network(data)
        return self.processes.gather(own)

    def share_gradients(self) -> None:
        """Once all gradients are there: let them be the same in all processes."""
        average_gradients(
            (
                parameter
                for name, module in {**self.models, **self.loss_funcs}.items()
                if name not in _EMBEDDING_MODELS
                for parameter in module.parameters()
            ),
            self.processes,
        )

    def leave_network(self) -> None:
        """Free what exchanging gradients takes; it is made again when it is needed."""
        self._network = None

    def _data_parallel(self, compute: Callable[[Tensor], Tensor]) -> nn.Module:
        network = _Embedding([self.models[name] for name in _EMBEDDING_MODELS], compute)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            return network
        device = torch.device(self.data_device)
        return DistributedDataParallel(network, [device] if device.type == "cuda" else None)

    @contextmanager
    def _own_stream(self) -> Iterator[None]:
        """Random numbers of this process's own, by its rank and the batch."""
        device = torch.device(self.data_device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(self.batch_order.seed_of_process(self.processes.rank))
            yield


class _Embedding(nn.Module):
    """The parameters of several models; its forward pass is the trainer's own.

    It has no buffers, which would be sent in each pass: they are equal already, or a process's own
    on purpose.
    """

    def __init__(self, models: Iterable[nn.Module], compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(p for model in models for p in model.parameters())
        self.compute = compute

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of this process's images."""
        return self.compute(images)


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
