"""The page on strategies and the strategies are the same."""

import re
from pathlib import Path

from pml_incremental.strategies import STRATEGIES

PAGE = (Path(__file__).parents[1] / "docs/strategies.md").read_text()


def test_every_strategy_is_in_the_table():
    listed = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))
    assert set(STRATEGIES) <= listed
