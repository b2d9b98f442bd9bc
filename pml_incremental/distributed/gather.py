"""Rows of all processes as one tensor, with gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """The rows of all processes, in the order of their ranks."""
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """This process's rows of the sum of what all processes want of them."""
        first = distributed.get_rank() * ctx.count
        return _sum(gradient)[first : first + ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    r"""The rows of all processes of the default group, one process's after the other's.

    The gradient of a process's rows is the sum of the gradients of all processes' losses. Where
    every process computes the same loss L of the gathered rows, that is W times the gradient of L
    for W processes, which the mean over processes in ``DistributedDataParallel`` divides by W: the
    weights get the gradient of L.
    """
    gathered: Tensor = _Gather.apply(rows)
    return gathered


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        """The mean of the values of all processes."""
        return _sum(value) / distributed.get_world_size()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        """Each process's value has its share in the means of all."""
        return _sum(gradient) / distributed.get_world_size()


def mean_over_processes(value: Tensor) -> Tensor:
    """The mean of what all processes pass, with gradients as in :func:`gather_rows`."""
    mean: Tensor = _Mean.apply(value)
    return mean


def _sum(value: Tensor) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total
