"""Numbers and names as people read them."""

from __future__ import annotations

import math


def percent(share: float) -> str:
    """A share in percent with one decimal; a dash for NaN."""
    # Adding 0.0 makes 0.0 of -0.0.
    return "\N{EN DASH}" if math.isnan(share) else f"{round(100 * share, 1) + 0.0:.1f}"


def signed_percent(difference: float) -> str:
    """A difference of shares in percentage points, with its sign; a dash for NaN."""
    return f"+{percent(difference)}" if round(difference, 3) > 0 else percent(difference)


def shorten(name: str, length: int) -> str:
    """A name cut to ``length`` characters, with an ellipsis where something is missing."""
    return name if len(name) <= length else f"{name[: length - 1].rstrip()}…"
