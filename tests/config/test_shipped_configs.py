from pathlib import Path

import pytest

from pml_incremental.config import load_config, validate

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    "names", [["emoji_pair.yaml"], ["emoji_pair.yaml", "emoji_pair_classifier.yaml"]]
)
def test_config_is_valid(names):
    config = load_config([CONFIGS / name for name in names])
    validate(config)
    assert config.name == Path(names[-1]).stem
