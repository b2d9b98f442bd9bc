"""The page on strategies and the strategies are the same."""

import re
from pathlib import Path

from pml_incremental.config import ObjectSpec, parse_yaml
from pml_incremental.strategies import STRATEGIES, Strategy

PAGE = (Path(__file__).parents[1] / "docs/strategies.md").read_text()


def test_every_strategy_is_in_the_table():
    listed = set(re.findall(r"^\| `([\w-]+)` \|", PAGE, re.MULTILINE))
    assert set(STRATEGIES) <= listed


def test_strategies_of_the_example_can_be_built():
    example = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL).group(1)
    for entry in parse_yaml(example)["strategies"]:
        assert isinstance(ObjectSpec.parse(entry).build("strategy"), Strategy)
