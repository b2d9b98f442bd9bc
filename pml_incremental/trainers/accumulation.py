"""How many batches make an iteration."""

from __future__ import annotations


class Accumulation:
    """Batches whose gradients are accumulated for one optimizer step: an iteration.

    Args:
        steps: backward passes for each optimizer step, at least 1.

    Raises:
        ValueError: if steps is below 1.

    Example:
        >>> accumulation = Accumulation(4)
        >>> accumulation.iterations_in_pass(10)
        3
        >>> [accumulation.batches_in(iteration, 3) for iteration in range(3)]
        [4, 4, 2]
    """

    def __init__(self, steps: int = 1) -> None:
        if steps < 1:
            raise ValueError(f"accumulation_steps must be at least 1, got {steps}")
        self.steps = steps
        self._left_over = 0

    def iterations_in_pass(self, batches: int) -> int:
        """How many iterations a pass over the data takes, if an epoch is to be one.

        Args:
            batches: of a pass. What they leave over makes the epoch's last iteration.
        """
        self._left_over = batches % self.steps
        return -(-batches // self.steps)

    def batches_in(self, iteration: int, iterations_per_epoch: int) -> int:
        """Batches of an iteration.

        Args:
            iteration: within its epoch, counted from 0.
            iterations_per_epoch: of all.
        """
        is_last = iteration + 1 == iterations_per_epoch
        return self._left_over if is_last and self._left_over else self.steps
