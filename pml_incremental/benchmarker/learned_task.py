"""What a learned task leaves behind on disk, and how the next task takes it over."""

from __future__ import annotations

from collections.abc import Mapping

import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from torch import nn

from pml_incremental.models import copy_leading_block
from pml_incremental.trainers import Teacher


class LearnedTask:
    """The models and loss functions of a task's best epoch.

    Args:
        models: built as they were for that task; loaded in place and frozen.
        losses: the same; those with proxies have learned, too.
        folder: where powerful-benchmarker saved them.
        device: where they are to live.

    Raises:
        ValueError: if the folder holds no saved models.
    """

    def __init__(
        self,
        models: Mapping[str, nn.Module],
        losses: Mapping[str, nn.Module],
        folder: str,
        device: torch.device,
    ) -> None:
        _, suffix = pml_cf.latest_version(folder, best=True)
        if suffix is None:
            raise ValueError(
                f"{folder} holds no model, so there is nothing for the next task to start from: "
                "set save_models: True under hook_container"
            )
        self.modules = {name: module.to(device) for name, module in {**models, **losses}.items()}
        pml_cf.load_dict_of_models(self.modules, suffix, folder, device, assert_success=True)
        self.teacher = Teacher(models["trunk"], models["embedder"], models.get("classifier"))

    def hand_over(self, modules: Mapping[str, nn.Module]) -> None:
        """Start other models or losses from these; what they have more of stays as it is.

        Args:
            modules: by name, of the same classes, with as many outputs and proxies or more.
        """
        for name, module in modules.items():
            learned = self.modules[name]
            if _shapes(learned) == _shapes(module):
                module.load_state_dict(learned.state_dict())
            else:
                copy_leading_block(learned, module)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}
