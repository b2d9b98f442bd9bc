"""Two functions timed in turn, so that a machine's moods meet both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

ROUNDS = 60


def seconds(function: Callable[[], object], calls: int) -> float:
    """Per call, of several in a row: the first finds the caches as the other function left them."""
    start = time.perf_counter()
    for _ in range(calls):
        function()
    return (time.perf_counter() - start) / calls


def compare(
    title: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    bar: str,
    rounds: int = ROUNDS,
    calls: int = 20,
) -> None:
    """Run both in turn and print the median of the ratios of the rounds."""
    for function in (ours, other) * 3:
        function()
    pairs = [(seconds(ours, calls), seconds(other, calls)) for _ in range(rounds)]
    ratios = sorted(mine / theirs for mine, theirs in pairs)
    low, high = ratios[len(ratios) // 4], ratios[3 * len(ratios) // 4]
    mine, theirs = (statistics.median(times) * 1e3 for times in zip(*pairs, strict=True))
    print(
        f"{title:66} {mine:9.3f} ms / {theirs:9.3f} ms = {statistics.median(ratios):6.3f}"
        f"  (quartiles {low:.3f} to {high:.3f}; bar {bar})"
    )
