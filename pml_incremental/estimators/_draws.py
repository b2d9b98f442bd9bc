"""Random numbers that can be continued where they were left, on any device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_MASK = (1 << 64) - 1


@dataclass
class Draws:
    """A seed and a count: the n-th draw is the same whatever happened in between.

    The state of a torch generator depends on the kind of device; two integers do not.
    """

    seed: int = 0
    count: int = 0

    def next(self, device: torch.device | str) -> torch.Generator:
        """The generator for the next draw."""
        generator = torch.Generator(device).manual_seed(_mix(_mix(self.seed) + self.count))
        self.count += 1
        return generator


def _mix(number: int) -> int:
    """SplitMix64 (Steele et al., 2014): neighbours become unrelated 64-bit numbers."""
    number = (number + 0x9E3779B97F4A7C15) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)
