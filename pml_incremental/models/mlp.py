"""The embedder: from trunk features to embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


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
