"""The largest scores of some queries, while parts of the table of scores come by."""

from __future__ import annotations

import torch
from torch import Tensor

# The maximum of a group of items says whether to look into it.
GROUP = 16
# Beyond this share of groups to look into, selecting from all items is cheaper.
FEW = 1 / 4


class BestScores:
    """The k largest scores of each query so far, and the items that have them."""

    def __init__(self, queries: int, k: int, dtype: torch.dtype, device: torch.device) -> None:
        self.scores = torch.full((queries, k), -torch.inf, dtype=dtype, device=device)
        self.items = torch.zeros(queries, k, dtype=torch.int64, device=device)
        self.offered = 0

    def offer(self, scores: Tensor, first: int) -> None:
        """Take the scores of further items into account."""
        whole = scores.shape[1] - scores.shape[1] % GROUP
        if whole and not self._offer_groups(scores[:, :whole], first):
            whole = 0
        self.offered += scores.shape[1]
        rest = scores[:, whole:]
        if rest.shape[1]:
            size = min(self.scores.shape[1], rest.shape[1])
            values, columns = rest.contiguous().topk(size, dim=1)
            self._merge(slice(None), values, columns + first + whole)

    def _offer_groups(self, scores: Tensor, first: int) -> bool:
        """Look only into the groups that hold one of the best, if these are few."""
        maxima = group_maxima(scores)
        least = self._least(maxima)
        query, group = torch.nonzero(maxima > least, as_tuple=True)
        if len(query) > FEW * maxima.numel():
            return False
        members = maxima.shape[1] * torch.arange(GROUP, device=scores.device)
        columns = group[:, None] + members
        values = scores[query[:, None], columns]
        kept = values > least[query]
        query = query[:, None].expand_as(kept)[kept]
        if len(query):
            asking, place, counts = torch.unique_consecutive(
                query, return_inverse=True, return_counts=True
            )
            number = torch.arange(len(query), device=query.device)
            number -= (counts.cumsum(0) - counts)[place]
            shape = len(asking), int(counts.max())
            padded = torch.full(shape, -torch.inf, dtype=scores.dtype, device=scores.device)
            padded[place, number] = values[kept]
            items = torch.zeros(shape, dtype=torch.int64, device=scores.device)
            items[place, number] = columns[kept] + first
            self._merge(asking, padded, items)
        return True

    def _least(self, maxima: Tensor) -> Tensor:
        """What a score must exceed to be one of the k best, as far as is known, shape (B, 1)."""
        k = self.scores.shape[1]
        if self.offered <= k and maxima.shape[1] >= k:  # one of those offered may be the query
            best = maxima.topk(k, dim=1).values[:, -1:]
            return torch.nextafter(best, best.new_tensor(-torch.inf))
        return self.scores[:, -1:]

    def _merge(self, queries: Tensor | slice, scores: Tensor, items: Tensor) -> None:
        both = torch.cat([self.scores[queries], scores], dim=1)
        top, places = both.topk(self.scores.shape[1], dim=1)
        self.scores[queries] = top
        self.items[queries] = torch.cat([self.items[queries], items], dim=1).gather(1, places)


def group_maxima(scores: Tensor) -> Tensor:
    """The largest score of each group; item i of G groups is in group i modulo G."""
    groups = scores.shape[1] // GROUP
    if scores.stride(0) == 1:  # reduced the other way round, this would take many times as long
        turned: Tensor = scores.T.unflatten(0, (GROUP, groups))
        return turned.amax(dim=0).T
    grouped: Tensor = scores.unflatten(1, (GROUP, groups))
    return grouped.amax(dim=1)
