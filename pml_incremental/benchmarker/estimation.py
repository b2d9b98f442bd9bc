"""The estimators of the prior models, from one task of an experiment to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import FeatureEstimationLoss
from pml_incremental.strategies.estimation import PASSES, EstimatorInput, update_bank
from pml_incremental.trainers import Teacher
from pml_incremental.trainers.training_state import unchanged_random_state


def connect_bank(parser: Any, name: str, loss: FeatureEstimationLoss) -> None:
    """Give a loss the bank of the current task, learned now or read from the task's folder.

    From the third task on, the bank learns from the last two models on the new images, as with
    the strategy ``fecd``. It sees the trunk's output too if the trainer ``compares`` this loss
    with ``embeddings_and_trunk``. The config's ``estimator``, ``estimator_passes`` and
    ``estimator_range`` say how.
    """
    arguments = parser.args
    bank = loss.bank = EstimatorBank(
        getattr(arguments, "estimator", "LinearEstimator"), seed=getattr(arguments, "seed", 0)
    )
    prior_models = parser.task_number - 2
    if prior_models < 1:
        return
    estimator_input: EstimatorInput = (
        "trunk" if parser.trainer.compares.get(name) == "embeddings_and_trunk" else "embeddings"
    )
    ranges = _ranges(bank, getattr(arguments, "estimator_range", None), prior_models)
    new_images, teacher = parser.split_manager.stage.train, parser.previous.teacher
    if estimator_input == "trunk":
        bank.embedding_width = _embedding_width(teacher, new_images, parser.device)
    file = Path(parser.model_folder, f"{name}_bank.safetensors")
    if file.exists():
        bank.load(file, prior_models=prior_models)
        return
    if prior_models > 1:
        before = Path(parser.folder_of(parser.task_number - 1), file.name)
        bank.load(before, prior_models=prior_models - 1)
    leaving = parser.load_learned(parser.task_number - 2).teacher
    passes = getattr(arguments, "estimator_passes", PASSES)
    update_bank(bank, new_images, leaving, teacher, estimator_input=estimator_input, passes=passes)
    if bank.needs_ranges:
        bank.set_ranges(ranges)
    bank.save(file)


def _ranges(bank: EstimatorBank, given: Any, prior_models: int) -> dict[int, tuple[float, float]]:
    if not bank.needs_ranges:
        return {}
    if given is None:
        raise ValueError(
            "this estimator draws from a range: give estimator_range: [low, high], the smallest "
            "and largest relative change of a feature"
        )
    low, high = given
    return dict.fromkeys(range(1, prior_models + 1), (low, high))


def _embedding_width(teacher: Teacher, images: Any, device: Any) -> int:
    with unchanged_random_state():  # a random transform must not change what the bank sees
        return teacher.embed(images[0][0].unsqueeze(0).to(device)).shape[1]
