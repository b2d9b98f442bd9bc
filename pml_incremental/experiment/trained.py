"""The student at the end of a task, ready to be measured."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor
from torch.utils.data import DataLoader

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.assembly import batch_size, build_sampler
from pml_incremental.experiment.student import Student
from pml_incremental.scenarios import TaskSubset
from pml_incremental.strategies import TrainedModel
from pml_incremental.strategies.trained_model import Batch


def trained_model(config: ExperimentConfig, student: Student, images: TaskSubset) -> TrainedModel:
    """The student and what it was trained with.

    Args:
        config: losses, their weights, miners and sampler.
        student: as training left it.
        images: what it was trained on.

    Returns:
        Functions that run on the student itself, with gradients.
    """
    miner = config.mining_funcs.get("tuple_miner")
    mine = miner.build("miner") if miner is not None else None

    def batches() -> Iterator[Batch]:
        sampler = build_sampler(config, images)
        loader = DataLoader(
            images, batch_size(config), shuffle=sampler is None, sampler=sampler, drop_last=True
        )
        for data, labels in loader:
            yield data.to(student.device), labels.to(student.device)

    def embed(batch: Batch) -> Tensor:
        embeddings: Tensor = student.models["embedder"](student.models["trunk"](batch[0]))
        return embeddings

    def loss(batch: Batch) -> Tensor:
        embeddings, labels = embed(batch), batch[1]
        pairs = mine(embeddings, labels) if mine is not None else None
        total = student.losses["metric_loss"](embeddings, labels, pairs)
        total = total * config.loss_weights.get("metric_loss", 1.0)
        if "classifier_loss" in student.losses:
            logits = student.models["classifier"](embeddings)
            weight = config.loss_weights.get("classifier_loss", 1.0)
            total = total + weight * student.losses["classifier_loss"](logits, labels)
        checked: Tensor = total
        return checked

    return TrainedModel(student.modules(), batches, embed, loss, images)
