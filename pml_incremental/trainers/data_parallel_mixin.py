"""A PML trainer's step on a batch that several processes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_metric_learning.trainers.base_trainer import BaseTrainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pml_incremental.distributed.processes import Processes
from pml_incremental.distributed.sharing import average_gradients
from pml_incremental.trainers.batches import BatchOrder

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
