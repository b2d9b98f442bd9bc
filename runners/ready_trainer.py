"""A trainer whose first iteration can be timed again and again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from in_turn import DEVICE
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import Tensor, nn
from torch.utils.data import TensorDataset

BATCH = 80
Models = Mapping[str, nn.Module]


def ready_trainer(
    kind: type[MetricLossOnly],
    models: Models,
    images: Tensor,
    loss_funcs: dict[str, nn.Module],
    **options: object,
) -> MetricLossOnly:
    """A trainer at its first iteration, on a batch of 20 classes in memory."""
    built = kind(
        models=dict(models),
        optimizers={
            f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=1e-6)
            for name, model in models.items()
        },
        batch_size=BATCH,
        loss_funcs=loss_funcs,
        dataset=TensorDataset(images, torch.arange(BATCH) % 20),
        dataloader_num_workers=0,
        data_device=DEVICE,
        **options,
    )
    built.initialize_dataloader()
    built.set_to_train()
    built.epoch, built.iteration = 1, 0
    return built
