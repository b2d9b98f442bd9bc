"""Which items of a gallery share each query's class."""

from __future__ import annotations

import torch
from torch import Tensor


class ClassMembers:
    """The items of each class in a range of rows."""

    def __init__(self, labels: Tensor, gallery: range) -> None:
        self.labels, self.gallery = labels, gallery
        inside = labels[gallery.start : gallery.stop]
        self.rows = inside.argsort(stable=True) + gallery.start
        self.classes, self.counts = torch.unique(inside, return_counts=True)
        self.starts = self.counts.cumsum(0) - self.counts

    def number_of_matches(self, queries: range) -> Tensor:
        """Same-class items of each query, itself left out, shape (Q,)."""
        counts, _ = self._lookup(queries)
        return counts - int(queries.start in self.gallery)

    def matches(self, queries: range) -> Tensor:
        """Rows of the same-class items, itself left out, shape (Q, M), -1 where there are fewer."""
        counts, starts = self._lookup(queries)
        offsets = torch.arange(int(counts.max()), device=self.labels.device)
        places = (starts[:, None] + offsets).clamp(max=len(self.rows) - 1)
        found = torch.where(offsets < counts[:, None], self.rows[places], -1)
        themselves = torch.arange(queries.start, queries.stop, device=self.labels.device)
        found[found == themselves[:, None]] = -1
        return found.sort(dim=1, descending=True).values

    def _lookup(self, queries: range) -> tuple[Tensor, Tensor]:
        asked = self.labels[queries.start : queries.stop].contiguous()
        place = torch.searchsorted(self.classes, asked).clamp(max=len(self.classes) - 1)
        known = self.classes[place] == asked
        return self.counts[place] * known, self.starts[place]


def most_matches(labels: Tensor, queries: range, gallery: range) -> int:
    """The largest number of same-class items that one of the queries has in a gallery."""
    return int(ClassMembers(labels, gallery).number_of_matches(queries).max())
