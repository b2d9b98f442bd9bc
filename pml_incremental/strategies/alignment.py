"""Rotating embeddings back onto the teacher's after a task, so that old vectors stay searchable."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from pml_incremental.distributed.processes import copy_from_rank_zero
from pml_incremental.functional import nearest_orthogonal
from pml_incremental.models.modes import evaluation_mode
from pml_incremental.strategies.component import Component, TrainedModel
from pml_incremental.strategies.strategy import Strategy, register_strategy
from pml_incremental.trainers import Teacher

_EXAMPLES = 8
_FOLDS = 5
_QUERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class Aligned:
    """What :func:`align_embeddings` did.

    Attributes:
        rotation: R, shape (d, d), float64, on the CPU; None if the model stayed as it was.
        recall_before: Recall@1 of images of classes held out, embedded by the model, among the
            teacher's embeddings of the others of them; None if there are too few classes.
        recall: the same with rotations learned from the other classes.
    """

    rotation: Tensor | None
    recall_before: float | None
    recall: float | None


@torch.no_grad()
def align_embeddings(
    model: nn.Module,
    teacher: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    classifier: nn.Module | None = None,
    losses: Sequence[nn.Module] = (),
) -> Aligned:
    r"""Rotate a model's embeddings, in place, onto its teacher's for the same images.

    .. math:: R = \operatorname*{argmin}_{R^T R = I}
              \sum_i \left\lVert R \frac{z_i}{\lVert z_i \rVert} -
              \frac{t_i}{\lVert t_i \rVert} \right\rVert^2, \qquad W \leftarrow R W, \quad
              b \leftarrow R b

    with W and b of the model's last linear layer, so that nothing is added to it. Distances and
    cosines between its own embeddings stay, and with them all that it finds among them; what it
    finds among the teacher's does not. What else lies in the embedding space is rotated too: a
    classifier's weights, and proxies or class weights of losses.

    Whether that helps classes that R was not learned from is tried first, on one fifth of the
    classes after another. The model stays as it was unless held-out images that then find their
    class among the teacher's embeddings outnumber those that no longer do by more than the standard
    deviation of chance, :math:`\sqrt{n}` of n such images.

    Source: Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika
    31, 1966; taking it into the model after each task, and the trial, are ours.

    Args:
        model: gives embeddings, shape (N, d), from a ``torch.nn.Linear``, after which there may
            only be what a rotation leaves alone, such as scaling to length 1.
        teacher: gives embeddings of the same width.
        batches: images and labels, such as those that the model has learned from, on its device;
            of 4 classes or more, as the model stays as it was otherwise.
        classifier: called with embeddings, if there is one.
        losses: called with embeddings and labels, if training goes on with them.

    Returns:
        The rotation, and what the trial gave.

    Raises:
        ValueError: if there are no batches, embeddings are not finite or of another width, or
            model, classifier or losses are not such that they can be rotated. Nothing has changed
            then.

    Example:
        >>> model, teacher = nn.Linear(6, 4), nn.Linear(6, 4)
        >>> labels = torch.arange(8).repeat(5)
        >>> images = torch.eye(8, 6)[labels] + torch.randn(40, 6) / 10
        >>> found = align_embeddings(model, teacher, [(images, labels)])
        >>> found.rotation is None or found.recall > found.recall_before
        True
    """
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    with evaluation_mode(model, teacher):
        for images, labels in batches:
            new, old = (normalize(_embed(each, images)) for each in (model, teacher))
            if new.shape != old.shape:
                raise ValueError(
                    f"the model's embeddings have shape {tuple(new.shape)} and the teacher's "
                    f"{tuple(old.shape)}: only those of one width can be aligned"
                )
            found.append((new, old, labels.cpu()))
            example = images[:_EXAMPLES]
        if not found or not all(part.isfinite().all() for pair in found for part in pair):
            what = "are not all finite" if found else "of no images were given"
            raise ValueError(f"embeddings to align {what}: look at the batches, and for NaN before")
        parts = rotated_parts(model, example, classifier, losses)
    new, old, labels = map(torch.cat, zip(*found, strict=True))
    before, after = _try(new, old, labels)
    if not len(before):
        return Aligned(None, None, None)
    rotation, won, lost = None, int((after & ~before).sum()), int((before & ~after).sum())
    if won - lost > (won + lost) ** 0.5:
        rotation = nearest_orthogonal(old.T @ new)
        for part, axes in parts:
            _rotate(part, axes, rotation)
    return Aligned(rotation, float(before.double().mean()), float(after.double().mean()))


def _try(new: Tensor, old: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Which images of classes held out find their class without and with a rotation."""
    classes, index = torch.unique(labels, return_inverse=True)
    folds = min(_FOLDS, len(classes) // 2)  # each of 2 classes or more
    order = torch.randperm(len(classes), generator=torch.Generator().manual_seed(0))
    fold = order[index] % max(folds, 1)
    before, after = [torch.zeros(0).bool()], [torch.zeros(0).bool()]
    for number in range(folds if folds > 1 else 0):
        out = fold == number
        rotation = nearest_orthogonal(old[~out].T @ new[~out])
        before.append(_hits(new[out], old[out], labels[out]))
        after.append(_hits(new[out] @ rotation.T, old[out], labels[out]))
    return torch.cat(before), torch.cat(after)


def _hits(queries: Tensor, gallery: Tensor, labels: Tensor) -> Tensor:
    """Which queries find their class at rank 1 of the embeddings of the other images."""
    nearest = []
    for first in range(0, len(queries), _QUERIES_AT_ONCE):
        scores = queries[first : first + _QUERIES_AT_ONCE] @ gallery.T
        scores.diagonal(first).fill_(-torch.inf)
        nearest.append(scores.argmax(1))
    return labels[torch.cat(nearest)] == labels


#: A module, and by tensor's name the axis along which it lies in the embedding space.
Part = tuple[nn.Module, Mapping[str, int]]


@torch.no_grad()
def rotated_parts(
    model: nn.Module,
    images: Tensor,
    classifier: nn.Module | None = None,
    losses: Sequence[nn.Module] = (),
) -> list[Part]:
    """What must be rotated to rotate the embeddings; a ValueError if that is not all there is."""
    with evaluation_mode(model):
        layer = _last_linear(model, images)
    width = layer.out_features
    heads = [(loss, _axes_of_head(loss, width)) for loss in losses]
    if classifier is not None:
        heads.append((classifier, _axes_of_head(classifier, width, takes_labels=False)))
    return [(layer, _rows(layer)), *heads]


def _last_linear(model: nn.Module, images: Tensor) -> nn.Linear:
    """The layer with which the embeddings rotate: the last one called, if trying shows that."""
    called: list[nn.Linear] = []
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    hooks = [layer.register_forward_hook(lambda x, *_: called.append(x)) for layer in layers]
    try:
        before = _embed(model, images)
    finally:
        for hook in hooks:
            hook.remove()
    width = before.shape[1]
    if called and called[-1].out_features == width:
        turn = _some_rotation(width)
        with _kept(called[-1]) as layer:
            _rotate(layer, _rows(layer), turn)
            after = _embed(model, images)
        wanted = before @ turn.T
        if (after - wanted).norm() <= 0.01 * wanted.norm():
            return called[-1]
    found = f"the last called is {called[-1]}" if called else "none is called"
    raise ValueError(
        "embeddings are rotated by rotating the linear layer that they come from, and those of "
        f"{_name(model)} do not rotate with one ({found}): let the embedder end "
        "with torch.nn.Linear, as MLP does, and with nothing after it but scaling to length 1"
    )


def _axes_of_head(head: nn.Module, width: int, takes_labels: bool = True) -> dict[str, int]:
    """Where the tensors of a loss or classifier lie in the embedding space, found by trying."""
    tensors = {name: t for name, t in _tensors(head).items() if t.ndim > 1 and width in t.shape}
    if takes_labels and not tensors:
        return {}
    options = [
        [axis for axis, size in enumerate(t.shape) if size == width] for t in tensors.values()
    ]
    turn = _some_rotation(width)
    rows = turn[:_EXAMPLES].roll(1, dims=1)
    wanted = _answer(head, {}, turn, rows, takes_labels)
    for axes in product(*options):
        chosen = dict(zip(tensors, axes, strict=True))
        found = _answer(head, chosen, turn, rows @ turn.T, takes_labels)
        if torch.allclose(found, wanted, rtol=1e-6):
            return chosen
    raise ValueError(
        f"{type(head).__name__} does not give the same for rotated embeddings, also with "
        f"{' and '.join(tensors) or 'nothing'} rotated: train without it, or do not align"
    )


def _answer(
    head: nn.Module, axes: Mapping[str, int], turn: Tensor, rows: Tensor, takes_labels: bool
) -> Tensor:
    """What a copy of a loss or classifier, with some tensors rotated, says of embeddings."""
    trial = copy.deepcopy(head).cpu().double()
    _rotate(trial, axes, turn)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        labels = (torch.zeros(len(rows), dtype=torch.int64),) if takes_labels else ()
        found: Tensor = trial(rows, *labels)
    return found


def _rotate(part: nn.Module, axes: Mapping[str, int], rotation: Tensor) -> None:
    tensors = _tensors(part)
    for name, axis in axes.items():
        wide = tensors[name].detach().cpu().double()
        tensors[name].copy_(torch.tensordot(rotation, wide, ([1], [axis])).movedim(0, axis))


def _tensors(part: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers of floating-point numbers."""
    found = {**dict(part.named_parameters()), **dict(part.named_buffers())}
    return {name: tensor for name, tensor in found.items() if tensor.is_floating_point()}


def _rows(layer: nn.Linear) -> dict[str, int]:
    """Weight and bias; neither, where they are computed from others."""
    return {name: 0 for name in ("weight", "bias") if name in _tensors(layer)}


@contextmanager
def _kept(layer: nn.Linear) -> Iterator[nn.Linear]:
    """Bring a layer back to what it was."""
    before = copy.deepcopy(layer.state_dict())
    try:
        yield layer
    finally:
        layer.load_state_dict(before)


def _embed(model: nn.Module, images: Tensor) -> Tensor:
    """In float64 on the CPU."""
    found: Any = model(images)
    if not isinstance(found, Tensor) or found.ndim != 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"embeddings to align must have shape (N, d), {_name(model)} gave {shape}")
    return found.cpu().double()


def _some_rotation(width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return nearest_orthogonal(torch.randn(width, width, generator=generator).double())


def _name(model: nn.Module) -> str:
    parts = list(model) if type(model) is nn.Sequential else [model]
    return " and ".join(type(part).__name__ for part in parts)


class Alignment(Component):
    """After each task, and after what others do then, align the embeddings with the teacher's."""

    rotates_embeddings = True

    def __init__(self) -> None:
        self._report: dict[str, Any] = {}

    def check_models(self, modules: Mapping[str, nn.Module], images: Tensor) -> None:
        """Refuse models and losses that cannot be rotated."""
        rotated_parts(_whole(modules), images, modules.get("classifier"), _losses(modules))

    def after_training(self, trained: TrainedModel, teacher: Teacher | None) -> None:
        """Rotate the model, on the task's training images."""
        assert teacher is not None
        modules, old = trained.modules, _whole(teacher.models())
        heads = modules.get("classifier"), _losses(modules)
        done = align_embeddings(_whole(modules), old, trained.same_batches(), *heads)
        copy_from_rank_zero(modules.values(), self.processes)
        self._report = {
            "rotated": done.rotation is not None,
            "recall_at_1_held_out": done.recall_before,
            "recall_at_1_held_out_rotated": done.recall,
        }

    def report(self) -> dict[str, Any]:
        """Whether the model was rotated, and what decided it."""
        return self._report


def _whole(models: Mapping[str, nn.Module]) -> nn.Sequential:
    return nn.Sequential(models["trunk"], models["embedder"])


def _losses(modules: Mapping[str, nn.Module]) -> list[nn.Module]:
    """Those of embeddings; a classifier's takes logits."""
    others = ("trunk", "embedder", "classifier", "classifier_loss")
    return [module for name, module in modules.items() if name not in others]


@register_strategy("align")
def align() -> Strategy:
    """Rotate the embeddings onto the old model's after each task; old galleries stay searchable.

    See :func:`align_embeddings`: a rotation changes nothing that the model finds in galleries of
    its own. It is only done if queries of new classes held out then find more among the old
    model's embeddings, which needs 4 new classes or more. For sums such as
    ``function-matching+align``, in which it comes last. The embedder must end with a linear layer.

    Example:
        >>> [type(component).__name__ for component in align().components]
        ['Alignment']
    """
    return Strategy((Alignment(),))
