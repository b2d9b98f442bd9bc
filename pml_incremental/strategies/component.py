"""One way of holding on to the old classes; a strategy is a sum of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pml_incremental.distributed import Processes
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.trainers import Compared, Penalty, Probes, Teacher
from pml_incremental.trainers.training_state import seed_generators, unchanged_random_state

_BATCH_SIZE = 128

#: Images (N, C, H, W) and labels (N,).
Batch: TypeAlias = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class WeightedLoss:
    """A distillation loss, its weight in the total, what it compares, and on which images.

    The images are those of the batch, or probes.
    """

    loss: nn.Module
    weight: float
    compares: Compared = "embeddings"
    probes: Probes | None = None


@dataclass(frozen=True)
class WeightedPenalty:
    """A penalty on parameters and its weight in the total."""

    penalty: Penalty
    weight: float


@dataclass(frozen=True)
class FinishedTask:
    """What is there when a task has been learned, and partly gone soon after.

    Attributes:
        task: with its images.
        teacher: the model before the task; None for the first.
        student: a frozen copy of the model after it.
        device: where both live.
        measurements: own- and joint-gallery metrics before any task and after each task so far:
            ``measurements[i]["own/recall_at_1"]["task_2"]``; None where not measured.
        trained_start: whether the model before any task is one to hold on to, as a prior model.
    """

    task: Task
    teacher: Teacher | None
    student: Teacher
    device: torch.device
    measurements: Sequence[Mapping[str, Mapping[str, float | None]]]
    trained_start: bool = False


_FORMER_METHODS = {
    "begin_task": "before_task(task, previous, teacher)",
    "measure": "after_task(trained, finished)",
    "end_task": "after_task(trained, finished)",
}


class Component:
    """What a strategy adds to plain training. Every method has a default that adds nothing.

    A component lives through all tasks of one strategy. What it remembers between tasks must be
    in its ``state_dict``, so that a resumed run equals an uninterrupted one.
    """

    #: That learn together, all of which call its methods; they may share its passes over images.
    processes: Processes = Processes()
    #: Whether it compares logits, so that the config must have a classifier.
    needs_classifier: bool = False
    #: Whether it must see the steps of the first task too, which is then not shared with others.
    observes_training: bool = False
    #: Whether it changes the teacher while a task is learned.
    moves_teacher: bool = False
    #: Whether it keeps what the teacher says, so that the teacher must not change.
    caches_teacher: bool = False
    #: Share of each batch's images that join it turned, as classes of their own.
    turned: float = 0.0
    #: Makes a config of peft's for the adapter that learns instead of the trunk's weights.
    adapter: Callable[[], Any] | None = None
    #: Whether it holds each weight of the trunk, which rest while an adapter learns.
    holds_weights: bool = False
    #: Whether all that it does comes of what it kept of earlier tasks.
    needs_memory: bool = False
    #: Whether its :meth:`after_training` rotates the embeddings; it then comes after all others'.
    rotates_embeddings: bool = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for former, now in _FORMER_METHODS.items():
            if former in cls.__dict__:
                raise TypeError(
                    f"{cls.__name__}.{former} would never be called: components have {now} "
                    "instead; rename the method"
                )

    def check_models(self, modules: Mapping[str, nn.Module], images: Tensor) -> None:
        """Refuse models or losses that it cannot work with, before anything is trained.

        Args:
            modules: copies of the models and loss functions, by name.
            images: an example of what they take, shape (1, C, H, W).

        Raises:
            ValueError: saying what does not fit, and what to do.
        """

    def before_task(
        self,
        task: Task,  # noqa: ARG002
        previous: Teacher | None,  # noqa: ARG002
        teacher: Teacher,
    ) -> Teacher:
        """Prepare for a task that has a teacher; its images are there from now on.

        Args:
            task: the task about to be learned.
            previous: the model before the teacher; None if the teacher learned the first task.
            teacher: the model that the task's student starts from.

        Returns:
            The model to learn beside: the teacher, or one that tells more about it.
        """
        return teacher

    def losses(self, task: Task) -> Mapping[str, WeightedLoss]:  # noqa: ARG002
        """The distillation losses of a task that has a teacher, by name.

        Args:
            task: the task about to be learned.

        Returns:
            Losses called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)``, or with the
            logits of both if that is what they compare.
        """
        return {}

    def penalties(self, task: Task) -> Mapping[str, WeightedPenalty]:  # noqa: ARG002
        """The penalties on parameters in a task that has a teacher, by name.

        Args:
            task: the task about to be learned.
        """
        return {}

    def exemplars(self, earlier: Sequence[Task]) -> Sequence[TaskSubset]:  # noqa: ARG002
        """Old images that join a new task's training images.

        Args:
            earlier: the tasks before the one about to be learned.
        """
        return ()

    def before_step(self, modules: Mapping[str, nn.Module]) -> None:
        """Called between the backward pass and the optimizer's step.

        Called in every task but the first; in that too if ``observes_training``.

        Args:
            modules: the models and loss functions in training, by name.
        """

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """Called after the optimizer's step, in the tasks of :meth:`before_step`.

        Args:
            modules: the models and loss functions in training, by name.
            teacher: the model beside which they learn; None in the first task.
        """

    def after_training(self, trained: TrainedModel, teacher: Teacher | None) -> None:
        """Change the model, in place, before it is evaluated and stored.

        Called in every task but the first.

        Args:
            trained: the model as training left it.
            teacher: the model before the task.
        """

    def after_task(self, trained: TrainedModel, finished: FinishedTask) -> None:
        """Remember what later tasks will need.

        Args:
            trained: the model as it was evaluated, with gradients, and the images it learned from.
            finished: the task just learned.
        """

    def report(self) -> dict[str, Any]:
        """What the records should say of the memory after a task, as plain values."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """What must survive from one task to the next, as plain tensors on any device."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`state_dict` gave.

        Args:
            state: tensors on the CPU.
        """

    def training_state(self) -> dict[str, Tensor]:
        """What may have changed since :meth:`before_task`, so that training can go on from here.

        By default all of ``state_dict``. A component that gathers something else while a task is
        learned must override this.
        """
        return self.state_dict()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what :meth:`training_state` gave, after :meth:`before_task` was called again.

        Args:
            state: tensors on the CPU.
        """
        self.load_state_dict(state)


def check_weight(name: str, weight: float) -> None:
    """Raise a ValueError if a loss's weight in the total is not at least 0."""
    if not weight >= 0:
        raise ValueError(f"the weight of {name} must be at least 0, got {weight}")


@dataclass(frozen=True)
class TrainedModel:
    """A model at the end of a task, with gradients, and the means to measure it.

    Attributes:
        modules: trunk, embedder, classifier and loss functions by name; not to be changed.
        batches: gives one pass over the task's training images, sampled as in training.
        embed: embeddings of a batch, shape (N, d), before any normalisation by a loss.
        loss: the task's own loss on a batch (metric and classifier loss with their weights, no
            distillation and no penalty), a scalar.
        images: the task's training images, each once, with training's random transforms.
    """

    modules: Mapping[str, nn.Module]
    batches: Callable[[], Iterable[Batch]]
    embed: Callable[[Batch], Tensor]
    loss: Callable[[Batch], Tensor]
    images: TaskSubset

    def same_batches(self) -> Iterator[Batch]:
        """Each training image once, on the model's device, transformed alike in every pass.

        What is drawn for that changes no random stream.
        """
        embedding = (self.modules[name] for name in ("trunk", "embedder"))
        device = next(weight for model in embedding for weight in model.parameters()).device
        with unchanged_random_state():
            seed_generators(0)
            for images, labels in DataLoader(self.images, _BATCH_SIZE):
                yield images.to(device), labels
