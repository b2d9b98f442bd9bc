"""Embeddings prepared for being compared by matrix products."""

from __future__ import annotations

import torch
from torch import Tensor

from pml_incremental.search.tensors import Stacked

MOST_ROWS_AT_ONCE = 8192
# Float64 copies of some rows that exist at once while they are prepared or compared.
COPIES_OF_ROWS = 4


class CentredEmbeddings:
    """Embeddings that are both queries and gallery, with rough scores and exact distances.

    The score of an item y for a query x is -|x - y|^2 / 2, as x.y - |x|^2 / 2 - |y|^2 / 2 after
    moving the origin to the mean, which makes rounding errors small beside the differences that
    matter. It is the same both ways. Scores within :meth:`tolerance` of each other may be in the
    wrong order; then :meth:`exact_distances` decides.
    """

    def __init__(
        self, embeddings: Stacked, dtype: torch.dtype, device: torch.device, memory: int
    ) -> None:
        self.embeddings, self.dtype, self.device = embeddings, dtype, device
        fitting = memory // (COPIES_OF_ROWS * 8 * embeddings.width)
        self.rows_at_once = max(64, min(MOST_ROWS_AT_ONCE, fitting))
        chunks = [range(a, b) for a, b in _steps(len(embeddings), self.rows_at_once)]
        self.mean = torch.zeros(embeddings.width, dtype=torch.float64, device=device)
        for rows in chunks:
            self.mean += self._wide(rows).sum(dim=0) / len(embeddings)
        if not torch.isfinite(self.mean).all():
            raise ValueError(_not_finite(embeddings, chunks))
        self.half_squares = torch.empty(len(embeddings), dtype=torch.float64, device=device)
        for rows in chunks:
            squares = (self._wide(rows) - self.mean).square_().sum(dim=1)
            self.half_squares[rows.start : rows.stop] = squares / 2
        self.largest_norm = float((2 * self.half_squares.max()).sqrt())
        if self.half_squares.max() > torch.finfo(dtype).max:
            raise ValueError(f"embeddings are too large to be compared in {dtype}: scale them down")
        self.items: Tensor | None = None
        shape = len(embeddings), embeddings.width + 2
        if shape[0] * shape[1] * dtype.itemsize <= memory // 2:
            self.items = torch.empty(shape, dtype=dtype, device=device)
            for rows in chunks:
                self.items[rows.start : rows.stop] = self._prepare(rows)

    def __len__(self) -> int:
        return len(self.embeddings)

    def scores(self, queries: range | Tensor, items: range) -> Tensor:
        """Scores of a range of items for some queries, -inf for a query itself, shape (Q, G)."""
        x, y = self._prepared(queries).clone(), self._prepared(items)
        x[:, -2:] = x[:, -2:].flip(1)  # (|x|^2, 1) meets (1, |y|^2)
        with _full_precision(x):
            scores = x @ y.T
        asking = self._numbers(queries)
        themselves = torch.nonzero((asking >= items.start) & (asking < items.stop)).flatten()
        scores[themselves, asking[themselves] - items.start] = -torch.inf
        return scores

    def tolerance(self, queries: range) -> Tensor:
        r"""How far apart two scores of one query must be to be surely in the right order, (Q,).

        Twice the bound :math:`\gamma_{d+10} (|x| |y| + |x|^2 / 2 + |y|^2 / 2)` on a score's
        rounding error in any order of summation (Higham, Accuracy and Stability of Numerical
        Algorithms, ch. 3).
        """
        norms = (2 * self.half_squares[queries.start : queries.stop]).sqrt()
        unit = torch.finfo(self.dtype).eps / 2
        gamma = unit * (self.embeddings.width + 10)
        return gamma / (1 - gamma) * (norms + self.largest_norm).square()

    def exact_distances(self, queries: Tensor, items: Tensor) -> Tensor:
        """Squared distances of pairs, in float64 from the embeddings themselves, shape (P,)."""
        found = torch.empty(len(queries), dtype=torch.float64, device=self.device)
        for start, stop in _steps(len(queries), self.rows_at_once):
            difference = self._wide(queries[start:stop])
            difference = difference - self._wide(items[start:stop])
            found[start:stop] = difference.square_().sum(dim=1)
        return found

    def _prepared(self, rows: range | Tensor) -> Tensor:
        if self.items is None:
            return self._prepare(rows)
        return self.items[rows.start : rows.stop] if isinstance(rows, range) else self.items[rows]

    def _prepare(self, rows: range | Tensor) -> Tensor:
        inside = slice(rows.start, rows.stop) if isinstance(rows, range) else rows
        items = torch.ones(
            len(rows), self.embeddings.width + 2, dtype=self.dtype, device=self.device
        )
        items[:, :-2] = self._wide(rows) - self.mean
        items[:, -1] = -self.half_squares[inside]
        return items

    def _wide(self, rows: range | Tensor) -> Tensor:
        return self.embeddings[rows].to(self.device).double()

    def _numbers(self, rows: range | Tensor) -> Tensor:
        if isinstance(rows, range):
            return torch.arange(rows.start, rows.stop, device=self.device)
        return rows


def _steps(size: int, step: int) -> list[tuple[int, int]]:
    return [(start, min(start + step, size)) for start in range(0, size, step)]


def _not_finite(embeddings: Stacked, chunks: list[range]) -> str:
    rows = [
        chunk.start + row
        for chunk in chunks
        for row in torch.nonzero(~torch.isfinite(embeddings[chunk]).all(dim=1)).flatten().tolist()
    ]
    if not rows:
        return "embeddings are too large to be summed in float64: scale them down"
    return f"{len(rows)} embeddings are not finite, the first at row {rows[0]}"


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
