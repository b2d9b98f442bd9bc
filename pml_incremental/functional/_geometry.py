"""Distances and directions whose gradients stay finite where points coincide."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_distances(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distances of all rows, shape (N, M); the gradient is 0 where the distance is 0."""
    # The matrix-product form loses the small distances, and with them the zero at equality.
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def unit_vectors(vectors: Tensor) -> Tensor:
    """Vectors along the last axis, scaled to length 1; a zero vector stays 0, without gradient."""
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    has_direction = length > torch.finfo(length.dtype).tiny
    # Dividing by the clamped length instead would give zero vectors gradients of 1e12.
    scale = torch.where(has_direction, 1 / torch.where(has_direction, length, 1), 0)
    return vectors * scale
