"""What a search is asked for."""

from __future__ import annotations

from dataclasses import dataclass


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
