"""Embeddings prepared for being compared by matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS_AT_ONCE = 8192


class Points:
    """Embeddings that are both queries and gallery, with rough scores and exact distances.

    The score of an item y for a query x is x.y - |y|^2 / 2, larger for nearer items, after moving
    the origin to the mean, which makes rounding errors small beside the differences that matter.
    Scores within :meth:`tolerance` of each other may be in the wrong order; then
    :meth:`exact_distances` decides.

    Args:
        embeddings: shape (N, d), floating point; half precision is widened.
        dtype: of the scores, float32 or float64.

    Raises:
        ValueError: if the shape is another or an embedding is not finite.
    """

    def __init__(self, embeddings: Tensor, dtype: torch.dtype = torch.float32) -> None:
        if embeddings.ndim != 2 or 0 in embeddings.shape:
            raise ValueError(f"embeddings must have shape (N, d), got {tuple(embeddings.shape)}")
        wide = embeddings.dtype in (torch.float32, torch.float64)
        self.embeddings = embeddings if wide else embeddings.float()
        self.mean = self.embeddings.mean(dim=0, dtype=torch.float64)
        if not torch.isfinite(self.mean).all():
            rows = torch.nonzero(~torch.isfinite(embeddings).all(dim=1)).flatten().tolist()
            raise ValueError(f"{len(rows)} embeddings are not finite, the first at row {rows[0]}")
        n, d = embeddings.shape
        self.items = torch.empty(n, d + 1, dtype=dtype, device=embeddings.device)
        for start in range(0, n, ROWS_AT_ONCE):
            chunk = slice(start, start + ROWS_AT_ONCE)
            centred = self.embeddings[chunk].double() - self.mean
            self.items[chunk, :d] = centred
            self.items[chunk, d] = -0.5 * centred.square().sum(dim=1)
        self.largest_norm = float((-2 * self.items[:, d].double().min()).sqrt())
        if self.largest_norm == float("inf"):
            raise ValueError(f"embeddings are too large to be compared in {dtype}: scale them down")

    def __len__(self) -> int:
        return len(self.items)

    @property
    def device(self) -> torch.device:
        """Where everything is computed."""
        return self.items.device

    def scores(self, queries: range, items: range) -> Tensor:
        """Scores of a range of items for a range of queries, -inf for a query itself."""
        x = self.items[queries.start : queries.stop].clone()
        x[:, -1] = 1
        with _full_precision(x):
            scores = x @ self.items[items.start : items.stop].T
        first = max(queries.start, items.start)
        both = torch.arange(first, min(queries.stop, items.stop), device=self.device)
        scores[both - queries.start, both - items.start] = -torch.inf
        return scores

    def tolerance(self, queries: range) -> Tensor:
        r"""How far apart two scores of one query must be to be surely in the right order, (Q,).

        Twice the bound :math:`\gamma_{d+9} (|x| |y| + |y|^2 / 2)` on a score's rounding error in
        any order of summation (Higham, Accuracy and Stability of Numerical Algorithms, ch. 3).
        """
        norms = (-2 * self.items[queries.start : queries.stop, -1].double()).sqrt()
        unit = torch.finfo(self.items.dtype).eps / 2
        gamma = unit * (self.items.shape[1] + 8)
        return 2 * gamma / (1 - gamma) * self.largest_norm * (norms + self.largest_norm / 2)

    def exact_distances(self, queries: Tensor, items: Tensor) -> Tensor:
        """Squared distances of pairs, in float64 from the embeddings themselves, shape (P,)."""
        step = max(1, 2**23 // self.embeddings.shape[1])
        found = torch.empty(len(queries), dtype=torch.float64, device=self.device)
        for start in range(0, len(queries), step):
            pairs = slice(start, start + step)
            difference = self.embeddings[queries[pairs]].double()
            difference -= self.embeddings[items[pairs]]
            found[pairs] = difference.square_().sum(dim=1)
        return found


class _full_precision:  # noqa: N801  # reads as a context, like torch.no_grad
    """No TF32 or bfloat16 inside float32 products: the tolerance would not cover them."""

    def __init__(self, matrix: Tensor) -> None:
        self.device_type = matrix.device.type

    def __enter__(self) -> None:
        self.before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        self.autocast = torch.autocast(self.device_type, enabled=False)
        self.autocast.__enter__()

    def __exit__(self, *error: object) -> None:
        self.autocast.__exit__(*error)
        torch.set_float32_matmul_precision(self.before)
