"""What powerful-benchmarker's API parsers must supply to incremental trainers.

It finds a parser by its name, ``API`` before that of the trainer.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from powerful_benchmarker.api_parsers import APITrainWithClassifier, BaseAPIParser
from torch import nn

from pml_incremental.benchmarker.estimation import connect_bank
from pml_incremental.benchmarker.split_manager import ClassIncrementalSplitManager
from pml_incremental.benchmarker.task_matrix import write_task_matrix
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.models import copy_leading_block
from pml_incremental.trainers import Teacher


class APIIncrementalMetricLoss(BaseAPIParser):
    """Starts each task from the model of the one before, which is also its teacher."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.wanted_splits = list(self.args.splits_to_eval)
        self.previous: LearnedTask | None = None

    @property
    def task_number(self) -> int:
        """The current task, counted from 1."""
        return self.curr_split_count + 1

    def get_split_manager(self, **kwargs: Any) -> ClassIncrementalSplitManager:
        """As configured, if it is one of tasks."""
        manager = super().get_split_manager(**kwargs)
        if not isinstance(manager, ClassIncrementalSplitManager):
            raise ValueError(
                f"{type(manager).__name__} does not know tasks: incremental trainers need "
                "split_manager~OVERRIDE~: {ClassIncrementalSplitManager: ...}"
            )
        return manager

    def set_curr_folders(self) -> None:
        """Also choose which of the wanted splits there are in this task."""
        super().set_curr_folders()
        self.args.splits_to_eval = self.split_manager.stage.expand(self.wanted_splits)

    def set_models_optimizers_losses(self) -> None:
        """Also load what the task before left behind."""
        self.seed_task()
        self.previous = self.load_learned(self.task_number - 1)
        super().set_models_optimizers_losses()
        if self.is_training():
            self.connect_banks()

    def seed_task(self) -> None:
        """Let every random choice of a task follow from the config's ``seed``."""
        seed = [getattr(self.args, "seed", 0), self.task_number]
        numbers = np.random.SeedSequence(seed).generate_state(3).tolist()
        torch.manual_seed(numbers[0])
        random.seed(numbers[1])
        pml_cf.NUMPY_RANDOM = np.random.RandomState(numbers[2])

    def load_learned(self, number: int) -> LearnedTask | None:
        """What an earlier task left behind; None before the first."""
        if number < 1:
            return None
        with self.split_manager.at(self.split_manager.get_split_scheme_name(number - 1)):
            models, losses = super().get_model(), super().get_loss_funcs()
        return LearnedTask(models, losses, self.folder_of(number), self.device)

    def folder_of(self, number: int) -> str:
        """Where the models of a task are saved."""
        name = self.split_manager.get_split_scheme_name(number - 1)
        folder: str = self.get_sub_experiment_dir_paths()[name]["models"]
        return folder

    def get_model(self, **kwargs: Any) -> dict[str, nn.Module]:
        """The student, which starts where the task before ended."""
        models: dict[str, nn.Module] = super().get_model(**kwargs)
        if self.previous is not None:
            self.previous.hand_over(models)
        return models

    def get_loss_funcs(self, **kwargs: Any) -> dict[str, nn.Module]:
        """The losses; proxies start where the task before ended."""
        losses: dict[str, nn.Module] = super().get_loss_funcs(**kwargs)
        if self.previous is not None:
            self.previous.hand_over(losses)
        return losses

    def get_optimizers(self, **kwargs: Any) -> Any:
        """As configured, and once more for the next task: the getter takes schedulers out."""
        configured = copy.deepcopy(self.args.optimizers)
        try:
            return super().get_optimizers(**kwargs)
        finally:
            self.args.optimizers = configured

    def default_kwargs_trainer(self) -> dict[str, Any]:
        """The usual arguments, the teacher, and the weights that stand beside the losses."""
        return {
            **super().default_kwargs_trainer(),
            "teacher": lambda: None if self.previous is None else self.previous.teacher,
            "loss_weights": self.loss_weights,
            # Labels are in order of arrival already, and classifiers know the older ones.
            "set_min_label_to_zero": lambda: False,
            "description": lambda: self.split_manager.curr_split_scheme_name,
        }

    def loss_weights(self) -> dict[str, float]:
        """1, or what ``loss_weights`` says, at the top of a config or under the trainer."""
        ((_, arguments),) = self.args.trainer.items()
        given = {
            **(getattr(self.args, "loss_weights", None) or {}),
            **((arguments or {}).get("loss_weights") or {}),
        }
        unknown = sorted(given.keys() - self.loss_funcs.keys())
        if unknown:
            raise ValueError(f"loss_weights names {', '.join(unknown)}, which is not in loss_funcs")
        return {name: given.get(name, 1.0) for name in self.loss_funcs}

    def connect_banks(self) -> None:
        """Give each estimation loss what is known of the prior models, and keep it on disk."""
        for name, loss in self.loss_funcs.items():
            if isinstance(loss, FeatureEstimationLoss):
                connect_bank(self, name, loss)

    def run_train_or_eval(self) -> Any:
        """Also write how well each task was found after each."""
        result = super().run_train_or_eval()
        if self.is_training():
            write_task_matrix(self)
        return result


class APIIncrementalTrainWithClassifier(APIIncrementalMetricLoss, APITrainWithClassifier):
    """The same for a trainer with a classifier, which gains outputs with each task."""


class LearnedTask:
    """The models and loss functions of a task's best epoch, loaded in place and frozen."""

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
                f"{folder} has no model, so the next task has nothing to start from: "
                "set save_models: True under hook_container"
            )
        self.modules = {name: module.to(device) for name, module in {**models, **losses}.items()}
        pml_cf.load_dict_of_models(self.modules, suffix, folder, device, assert_success=True)
        self.teacher = Teacher(models["trunk"], models["embedder"], models.get("classifier"))

    def hand_over(self, modules: Mapping[str, nn.Module]) -> None:
        """Start other models or losses from these; what they have more of stays as it is."""
        for name, module in modules.items():
            learned = self.modules[name]
            if _shapes(learned) == _shapes(module):
                module.load_state_dict(learned.state_dict())
            else:
                copy_leading_block(learned, module)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}
