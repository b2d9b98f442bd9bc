"""What adds up to the loss of an incremental trainer: types and checks."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, Protocol, TypeAlias, cast

from torch import Tensor, nn

from pml_incremental.by_name import warn_of_former_name
from pml_incremental.trainers.teacher import Teacher

#: A scalar that depends on the parameters of models and loss functions, given by name.
Penalty: TypeAlias = Callable[[Mapping[str, nn.Module]], Tensor]

#: What a distillation loss is given of student and teacher.
Compared: TypeAlias = Literal["embeddings", "logits", "embeddings_and_trunk", "maps"]


def current_kinds(compares: Mapping[str, str]) -> dict[str, Compared]:
    """What losses compare, by today's names."""
    if "features" in compares.values():
        warn_of_former_name("compares: features", "compares: embeddings_and_trunk")
    kinds = {k: "embeddings_and_trunk" if v == "features" else v for k, v in compares.items()}
    return cast("dict[str, Compared]", kinds)


def check_turned(turned: float) -> None:
    """Raise unless it is a share."""
    if not 0 <= turned <= 1:
        raise ValueError(f"turned must be from 0 to 1 (a share of the batch), got {turned}")


def check_penalties(penalties: Iterable[str], losses: Iterable[str]) -> None:
    """Raise if a penalty has the name of a loss."""
    losses = set(losses)
    taken = [name for name in penalties if name in losses]
    if taken:
        raise ValueError(f"{' and '.join(taken)} is both a loss and a penalty: rename one")


def check_compares(compares: Mapping[str, str], models: Iterable[str]) -> None:
    """Raise if a loss compares what the models do not give."""
    of_logits = [name for name, kind in compares.items() if kind == "logits"]
    if of_logits and "classifier" not in models:
        raise ValueError(
            f"{' and '.join(of_logits)} compares logits, but models has no classifier: "
            "add one and use IncrementalTrainWithClassifier"
        )


def check_probes(probes: Iterable[str], distillation_losses: Iterable[str]) -> None:
    """Raise if there are probes for what compares no student with its teacher."""
    known = list(distillation_losses)
    odd = [name for name in probes if name not in known]
    if odd:
        raise ValueError(
            f"probes are given for {' and '.join(odd)}, which is not a distillation loss: add it "
            f"to loss_funcs, or give them for one of {', '.join(known) or 'none there is'}"
        )


def check_weights(weights: Mapping[str, float] | None, terms: Iterable[str]) -> None:
    """Raise about weights of no term, and terms without one: PML takes no notice of either."""
    if weights is None:
        return
    terms = list(terms)
    for what, names, others in (
        ("has no loss", weights, terms),
        ("lacks the weight of", terms, weights),
    ):
        odd = [name for name in names if name not in others]
        if odd:
            raise ValueError(
                f"loss_weights {what} {' and '.join(odd)}: give it one number for each of "
                f"{', '.join(terms)}, or leave it out for weights of 1"
            )


def loss_value(loss: Tensor | float) -> float:
    """The value of a loss; PML's are tensors or, before they are computed, plain zeros."""
    return float(loss.detach()) if isinstance(loss, Tensor) else float(loss)


class StepObserver(Protocol):
    """Called by an incremental trainer around every optimizer step."""

    def before_step(self, modules: Mapping[str, nn.Module]) -> None:
        """Called after the backward pass, before gradients are clipped.

        Args:
            modules: the models and loss functions in training, by name.
        """

    def after_step(self, modules: Mapping[str, nn.Module], teacher: Teacher | None) -> None:
        """Called after the optimizers have stepped.

        Args:
            modules: as for :meth:`before_step`.
            teacher: the model beside which they learn.
        """


def warn_of_idle(distillation_losses: Iterable[str], weights: Mapping[str, float]) -> None:
    """Say which distillation losses count for nothing, as there is no teacher."""
    idle = [name for name in distillation_losses if weights[name] != 0]
    if idle:
        warnings.warn(
            f"{', '.join(idle)} compares with a teacher, and there is none: the trainer learns "
            "without it, as of a first task. For a later task pass "
            "teacher=Teacher.snapshot(models)",
            stacklevel=2,
        )
