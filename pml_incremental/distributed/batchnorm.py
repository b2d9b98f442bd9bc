"""BatchNorm over the batch of all processes."""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pml_incremental.distributed.processes import mean_over_processes
from pml_incremental.functional.checks import widen

_KNOWN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GlobalBatchNorm(_BatchNorm):
    """As ``nn.BatchNorm1d`` to ``3d`` on the batches of all processes together, on any device.

    torch's ``SyncBatchNorm`` is faster, and for GPUs alone. In evaluation mode, and where there is
    one process, this is plain BatchNorm.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised with mean and variance over all processes, of equal shares."""
        if not self.training or not distributed.is_initialized():
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        shape = [1, -1] + [1] * (input.dim() - 2)
        wide = widen(input)
        mean = mean_over_processes(wide.mean(dims))
        centred = wide - mean.view(shape)
        variance = mean_over_processes(centred.square().mean(dims))
        count = input.numel() // input.shape[1] * distributed.get_world_size()
        self._update_statistics(mean.detach(), variance.detach() * count / max(count - 1, 1))
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # a mean over all batches
            momentum = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_(variance.to(self.running_var), momentum)

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"BatchNorm needs inputs of shape (N, C, ...), got {input.shape}")


def share_batchnorm(model: nn.Module, device: torch.device) -> nn.Module:
    """Let the BatchNorm layers of a model normalise over the batch of all processes.

    Weights, buffers and their names stay.

    Args:
        model: changed in place.
        device: on a GPU the layers become torch's ``SyncBatchNorm``.

    Returns:
        The model, or what it became if it is a BatchNorm layer itself.

    Raises:
        ValueError: if it has BatchNorm layers of other classes than torch's.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        >>> names = list(model.state_dict())
        >>> list(share_batchnorm(model, torch.device("cpu")).state_dict()) == names, type(model[1])
        (True, <class 'pml_incremental.distributed.batchnorm.GlobalBatchNorm'>)
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    shared = (nn.SyncBatchNorm, GlobalBatchNorm)
    strange = {type(layer).__name__ for layer in layers if type(layer) not in (*_KNOWN, *shared)}
    if strange:
        raise ValueError(
            f"{type(model).__name__} has layers of class {', '.join(sorted(strange))}, which "
            "cannot normalise over several processes: set sync_batchnorm: false, so that each "
            "normalises its own share of a batch, or choose another model"
        )
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return converted
    for layer in layers:
        if type(layer) in _KNOWN:
            layer.__class__ = GlobalBatchNorm
    return model
