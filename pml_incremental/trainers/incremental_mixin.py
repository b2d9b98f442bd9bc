"""What turns a PML trainer into an incremental one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import torch
from pytorch_metric_learning.utils import common_functions as c_f
from torch import Tensor, nn

from pml_incremental.trainers.resumable_mixin import ResumableMixin
from pml_incremental.trainers.step_observer import StepObserver
from pml_incremental.trainers.teacher import Teacher

#: A scalar that depends on the parameters of models and loss functions, given by name.
Penalty: TypeAlias = Callable[[Mapping[str, nn.Module]], Tensor]

#: What a distillation loss is given of student and teacher.
Compared: TypeAlias = Literal["embeddings", "logits", "features"]


class IncrementalMixin(ResumableMixin):
    """Adds a frozen teacher and named distillation losses to a PML trainer.

    Put it before the PML trainer in the bases. Every entry of ``loss_funcs`` that the PML trainer
    does not know (``correlation_loss``, ``estimation_loss``, ...) is a distillation loss: it is
    called as ``loss(embeddings, labels, ref_emb=teacher_embeddings)`` and weighted by
    ``loss_weights`` like the others. Without a teacher (the first task) distillation losses are
    zero and the trainer does exactly what the PML trainer does.

    The teacher is kept outside ``models``: PML saves, records and zeroes the gradients of
    everything there.

    Args:
        teacher: the model to learn beside, or None for the first task.
        compares: distillation losses that compare something other than embeddings, by name:
            ``"logits"`` of both, or the student's embeddings with the teacher's ``"features"``,
            which are its embeddings followed by the output of its trunk.
        penalties: by name, each added to the total with its entry of ``loss_weights``.
        observers: told of every optimizer step.
        freeze_trunk_batchnorm: as in PML, or ``"with_teacher"``: only when there is a teacher, for
            trunks that start from scratch.
        **kwargs: the arguments of :class:`ResumableMixin` and of the PML trainer.

    Raises:
        ValueError: if a loss compares logits and there is no classifier, or a penalty is named as
            a loss.
    """

    def __init__(
        self,
        *args: Any,
        teacher: Teacher | None = None,
        compares: Mapping[str, Compared] | None = None,
        penalties: Mapping[str, Penalty] | None = None,
        observers: Sequence[StepObserver] = (),
        freeze_trunk_batchnorm: bool | Literal["with_teacher"] = False,
        **kwargs: Any,
    ) -> None:
        self.teacher = teacher
        self.compares = dict(compares or {})
        self.penalties = dict(penalties or {})
        self.observers = tuple(observers)
        self.last_embeddings: Tensor | None = None
        if freeze_trunk_batchnorm == "with_teacher":
            freeze_trunk_batchnorm = teacher is not None
        kwargs["freeze_trunk_batchnorm"] = freeze_trunk_batchnorm
        super().__init__(*args, **kwargs)

    def custom_setup(self) -> None:
        """Give the penalties their places among the losses."""
        super().custom_setup()
        of_logits = [name for name, kind in self.compares.items() if kind == "logits"]
        if of_logits and "classifier" not in self.models:
            raise ValueError(
                f"{' and '.join(of_logits)} compares logits, but models has no classifier: "
                "add one and use IncrementalTrainWithClassifier"
            )
        taken = [name for name in self.penalties if name in self.loss_funcs]
        if taken:
            raise ValueError(f"{' and '.join(taken)} is both a loss and a penalty: rename one")
        self.loss_names += list(self.penalties)

    def modify_schema(self) -> None:
        """Let the losses that PML does not know in, as distillation losses."""
        super().modify_schema()
        known = self.schema["loss_funcs"].keys
        self.distillation_losses = [name for name in self.loss_funcs if name not in known]
        self.schema["loss_funcs"].keys = known + self.distillation_losses

    def calculate_loss(self, curr_batch: tuple[Tensor, Tensor]) -> None:  # type: ignore[override]
        """The PML trainer's losses, then the distillation losses on the same embeddings."""
        super().calculate_loss(curr_batch)  # type: ignore[call-arg]
        data, labels = curr_batch
        embeddings, self.last_embeddings = self.last_embeddings, None
        assert embeddings is not None
        if self.teacher is not None and self.distillation_losses:
            self.losses.update(self.compute_distillation(self.teacher, embeddings, data, labels))
        for name, penalty in self.penalties.items():
            if self.loss_weights[name] != 0:
                self.losses[name] = penalty(self.trained_modules())

    def compute_distillation(
        self, teacher: Teacher, embeddings: Tensor, data: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        """Every distillation loss whose weight is not 0, by name."""
        wanted = {
            name: self.compares.get(name, "embeddings")
            for name in self.distillation_losses
            if self.loss_weights.get(name, 1) != 0
        }
        if not wanted:
            return {}
        images = c_f.to_device(data, device=self.data_device, dtype=self.dtype)
        targets, features = teacher.embed_with_features(images)
        targets = self.processes.gather(targets)
        pairs = {"embeddings": (embeddings, targets)}
        if "features" in wanted.values():
            features = self.processes.gather(features)
            pairs["features"] = embeddings, torch.cat([targets, features], dim=1)
        if "logits" in wanted.values():
            pairs["logits"] = self.models["classifier"](embeddings), teacher.classify(targets)
        losses = {}
        for name, kind in wanted.items():
            student, target = pairs[kind]
            losses[name] = self.loss_funcs[name](student, labels, ref_emb=target)
        return losses

    def compute_embeddings(self, data: Tensor) -> Tensor:
        """The student's embeddings, kept until the distillation losses have seen them."""
        embeddings: Tensor = super().compute_embeddings(data)
        self.last_embeddings = embeddings
        return embeddings

    def backward(self) -> None:
        """Back-propagate, and tell the observers."""
        super().backward()
        for observer in self.observers:
            observer.before_step(self.trained_modules())

    def step_optimizers(self) -> None:
        """Step, and tell the observers."""
        super().step_optimizers()
        for observer in self.observers:
            observer.after_step(self.trained_modules(), self.teacher)
