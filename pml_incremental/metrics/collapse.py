"""Whether a model still tells images apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

#: Cosine above which images cannot be told apart.
COLLAPSED_FROM = 0.999
_SAMPLE = 1000


def has_collapsed(embeddings: Tensor) -> bool:
    """Whether all images have nearly the same direction.

    Of more than 1000 embeddings, 1000 evenly spaced ones are compared.
    """
    if len(embeddings) < 2:
        return False
    rows = torch.linspace(0, len(embeddings) - 1, min(len(embeddings), _SAMPLE)).long()
    unit = normalize(embeddings[rows].double())
    return bool((unit @ unit.T).min() > COLLAPSED_FROM)
