"""Where each query's same-class items stand in its ranking: what every retrieval metric needs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

# Stands for a same-class item beyond the depth of the search.
NOT_FOUND = 2**62


@dataclass(frozen=True)
class MatchRanks:
    """The places of the same-class items in the rankings of some queries.

    Attributes:
        ranks: places from 1, ascending, shape (Q, M), int64; ``NOT_FOUND`` where a query has fewer
            same-class items, or where they are beyond ``depth``.
        matches: number of same-class items in the gallery, the query itself left out, shape (Q,).
        gallery_size: number of items ranked for each query, the query itself left out.
        depth: how many places were looked at; ``gallery_size`` for whole rankings.

    Example:
        >>> hits = torch.tensor([[False, True, True]])
        >>> found = match_ranks(hits, matches=torch.tensor([2]), gallery_size=9)
        >>> found.ranks.tolist(), found.depth
        ([[2, 3]], 3)
    """

    ranks: Tensor
    matches: Tensor
    gallery_size: int
    depth: int

    def __len__(self) -> int:
        return len(self.matches)

    @property
    def answerable(self) -> Tensor:
        """Queries with anything to be found, shape (Q,), bool."""
        return self.matches > 0

    def select(self, queries: Tensor) -> MatchRanks:
        """The ranks of some queries only, given as a mask or as indices."""
        return MatchRanks(self.ranks[queries], self.matches[queries], self.gallery_size, self.depth)


def match_ranks(hits: Tensor, matches: Tensor, gallery_size: int) -> MatchRanks:
    """Ranks read off which of the nearest items are of the query's class.

    Args:
        hits: nearest first and without the query itself, shape (Q, K), bool.
        matches: number of same-class items in the gallery, shape (Q,).
        gallery_size: number of items in the gallery, the query itself left out.

    Returns:
        Ranks up to K.
    """
    depth = hits.shape[1]
    places = torch.arange(1, depth + 1, device=hits.device)
    ranks = torch.where(hits, places, NOT_FOUND).sort(dim=1).values
    return MatchRanks(trim(ranks), matches, gallery_size, depth)


def trim(ranks: Tensor) -> Tensor:
    """Without the columns on the right that hold ``NOT_FOUND`` alone."""
    used = (ranks != NOT_FOUND).any(dim=0).sum() if ranks.numel() else 0
    return ranks[:, : int(used)]


def concatenate(parts: list[MatchRanks]) -> MatchRanks:
    """The ranks of several groups of queries in galleries of one size, one after another."""
    width = max(part.ranks.shape[1] for part in parts)
    rows = [
        torch.nn.functional.pad(part.ranks, (0, width - part.ranks.shape[1]), value=NOT_FOUND)
        for part in parts
    ]
    matches = torch.cat([part.matches for part in parts])
    return MatchRanks(torch.cat(rows), matches, parts[0].gallery_size, parts[0].depth)
