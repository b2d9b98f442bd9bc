"""Several hooks as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class InOrder:
    """Calls each hook in its order; says that training should stop if one of them does.

    Takes the place of any hook of a PML trainer or tester, which has room for one of each kind.

    Args:
        *hooks: each takes the trainer (or the tester) and may return False to stop training. All
            are called, whatever an earlier one returned.

    Example:
        >>> seen = []
        >>> both = InOrder(seen.append, lambda trainer: trainer != "last")
        >>> both("first"), both("last"), seen
        (True, False, ['first', 'last'])
    """

    def __init__(self, *hooks: Callable[[Any], object]) -> None:
        self.hooks = hooks

    def __call__(self, subject: Any) -> bool:
        """Call all hooks."""
        answers = [hook(subject) for hook in self.hooks]
        return not any(answer is False for answer in answers)
