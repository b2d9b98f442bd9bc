"""What a search is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Lookup:
    """Some rows of a set of embeddings ask, some are searched.

    Attributes:
        queries: rows that ask.
        gallery: rows that are searched; all of the queries or none of them.
        depth: places to look at for each query; None for all of the gallery.
    """

    queries: range
    gallery: range
    depth: int | None

    @property
    def available(self) -> int:
        """Items that each query can find: no query finds itself."""
        return len(self.gallery) - int(self.queries.start in self.gallery)

    def check(self, size: int) -> None:
        """Raise a ValueError unless this can be looked up among ``size`` rows."""
        for name, rows in (("queries", self.queries), ("gallery", self.gallery)):
            if not (rows.step == 1 and 0 <= rows.start < rows.stop <= size):
                raise ValueError(
                    f"{name} must be rows within 0 to {size}, at least one, got {rows}"
                )
        if (self.queries.start in self.gallery) != (self.queries[-1] in self.gallery):
            raise ValueError(
                f"the gallery {self.gallery} must hold all of the queries {self.queries} or none"
            )


def overlap(rows: range, others: range) -> range:
    """The rows in both ranges; empty if there are none."""
    return range(max(rows.start, others.start), min(rows.stop, others.stop))


def hull(ranges: list[range]) -> range:
    """The smallest range with all rows of some ranges."""
    return range(min(r.start for r in ranges), max(r.stop for r in ranges))


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
