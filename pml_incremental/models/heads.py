"""What comes after a trunk: the embedder, and a classifier that grows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from pml_incremental.wording import counted


class MLP(nn.Sequential):
    """Linear layers with ReLU between them.

    Args:
        in_features: width of the trunk's output; filled in by the experiment.
        layer_sizes: width of each layer; the last one is the width of the embeddings.

    Returns:
        When called with features of shape (N, in_features): embeddings of shape
        (N, layer_sizes[-1]).

    Raises:
        ValueError: if layer_sizes is empty or a width is not positive.

    Example:
        >>> import torch
        >>> MLP(96, [64])(torch.zeros(2, 96)).shape
        torch.Size([2, 64])
    """

    def __init__(self, in_features: int, layer_sizes: Sequence[int]) -> None:
        sizes = [in_features, *layer_sizes]
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                "in_features and layer_sizes must be positive and layer_sizes not empty, got "
                f"{in_features} and {list(layer_sizes)}"
            )
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(sizes):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        super().__init__(*layers[:-1])


class GrowingClassifier(nn.Linear):
    """A linear classifier over embeddings with one output per class seen so far.

    Args:
        in_features: width of the embeddings.
        num_classes: classes known at the start.

    Returns:
        When called with embeddings of shape (N, in_features): logits of shape (N, num_classes).

    Example:
        >>> classifier = GrowingClassifier(16, num_classes=10)
        >>> old = classifier.weight.detach().clone()
        >>> classifier.grow(15)
        >>> classifier(torch.zeros(2, 16)).shape
        torch.Size([2, 15])
        >>> bool((classifier.weight[:10] == old).all())
        True
    """

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__(in_features, num_classes)

    def grow(self, num_classes: int) -> None:
        """Add outputs up to ``num_classes``, keeping what the old ones learned.

        The parameters are new objects afterwards, so build optimizers after growing.

        Args:
            num_classes: outputs wanted, at least as many as there are.

        Raises:
            ValueError: if there are more outputs than num_classes already.
        """
        known = self.out_features
        if num_classes < known:
            raise ValueError(
                f"cannot shrink a classifier of {counted(known, 'class')} to {num_classes}: "
                "pass the number of all classes seen so far"
            )
        if num_classes == known:
            return
        grown = nn.Linear(self.in_features, num_classes).to(self.weight)
        with torch.no_grad():
            grown.weight[:known] = self.weight
            grown.bias[:known] = self.bias
        self.weight, self.bias, self.out_features = grown.weight, grown.bias, num_classes


def copy_leading_block(old: nn.Module, new: nn.Module) -> None:
    """Copy what was learned into a module of the same kind with more classes, in place.

    Each parameter of ``old`` fills the first rows, columns and so on of its namesake; the rest
    stays as initialised.

    Args:
        old: the smaller module.
        new: the larger module, or one of the same size.

    Raises:
        ValueError: if ``new`` lacks a parameter or has a smaller one, naming it.

    Example:
        >>> old, new = nn.Linear(4, 2), nn.Linear(4, 3)
        >>> copy_leading_block(old, new)
        >>> torch.equal(new.weight[:2], old.weight)
        True
    """
    target = dict(new.named_parameters())
    with torch.no_grad():
        for name, learned in old.named_parameters():
            found = tuple(target[name].shape) if name in target else None
            if found is None or len(found) != learned.ndim or not _fits(learned.shape, found):
                raise ValueError(
                    f"{name} of shape {tuple(learned.shape)} does not fit into "
                    f"{'nothing of that name' if found is None else found}: give two modules of "
                    "the same kind, the larger one second"
                )
            target[name][tuple(slice(0, size) for size in learned.shape)] = learned


def _fits(shape: torch.Size, into: tuple[int, ...]) -> bool:
    return all(small <= large for small, large in zip(shape, into, strict=True))
