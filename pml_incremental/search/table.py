"""The table of all scores, tile by tile, and the best of each query in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from pml_incremental.search.best_scores import BestScores
from pml_incremental.search.lookup import Lookup, hull, overlap
from pml_incremental.search.points import Points

# Scores, maxima and what is selected of them.
COPIES_OF_SCORES = 3
SMALLEST_SIDE, LARGEST_SIDE = 64, 2048
BYTES_OF_CANDIDATE = 12


def scan(
    points: Points, lookups: Mapping[int, Lookup], wanted: Mapping[int, int], memory: int
) -> Iterator[tuple[int, range, BestScores]]:
    """The best scores of the queries of some lookups, block by block of queries.

    A score is the same both ways, so one tile of the table serves the queries on both its sides:
    half of the table is enough, as long as the best scores of all queries can be held at once.
    """
    held = sum(len(lookup.queries) * wanted[n] for n, lookup in lookups.items())
    mirrored = held * BYTES_OF_CANDIDATE <= memory // 2
    every = hull([rows for x in lookups.values() for rows in (x.queries, x.gallery)])
    side = side_of_tile(points, memory)
    blocks = [every[start : start + side] for start in range(0, len(every), side)]
    best: dict[tuple[int, int], BestScores] = {}

    def best_of(lookup: int, block: int, queries: int) -> BestScores:
        if (lookup, block) not in best:
            made = BestScores(queries, wanted[lookup], points.dtype, points.device)
            best[lookup, block] = made
        return best[lookup, block]

    for i, above in enumerate(blocks):
        for j in range(i if mirrored else 0, len(blocks)):
            uses = _uses(lookups, above, blocks[j])
            turned = _uses(lookups, blocks[j], above) if mirrored and j > i else []
            if not uses and not turned:
                continue
            rows = hull([q for _, q, _ in uses] + [g for _, _, g in turned])
            columns = hull([g for _, _, g in uses] + [q for _, q, _ in turned])
            tile = points.scores(rows, columns)
            for n, queries, gallery in uses:
                part = tile[_within(queries, rows), _within(gallery, columns)]
                best_of(n, i, len(queries)).offer(part, gallery.start)
            for n, queries, gallery in turned:
                part = tile[_within(gallery, rows), _within(queries, columns)].T
                best_of(n, j, len(queries)).offer(part, gallery.start)
        for n, lookup in lookups.items():
            if (n, i) in best:
                yield n, overlap(lookup.queries, above), best.pop((n, i))


def side_of_tile(points: Points, memory: int) -> int:
    """Rows of a square tile that fits, a multiple of 64 up to 2048."""
    fitting = math.isqrt(memory // (COPIES_OF_SCORES * points.dtype.itemsize))
    side = min(LARGEST_SIDE, points.rows_at_once, fitting)
    return max(SMALLEST_SIDE, side // SMALLEST_SIDE * SMALLEST_SIDE)


def _uses(
    lookups: Mapping[int, Lookup], rows: range, columns: range
) -> list[tuple[int, range, range]]:
    """The lookups with queries in some rows and items in some columns, and which those are."""
    parts = [
        (n, overlap(lookup.queries, rows), overlap(lookup.gallery, columns))
        for n, lookup in lookups.items()
    ]
    return [part for part in parts if len(part[1]) and len(part[2])]


def _within(rows: range, outer: range) -> slice:
    return slice(rows.start - outer.start, rows.stop - outer.start)
