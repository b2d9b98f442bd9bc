"""The files that powerful-benchmarker shares with our own runner."""

from pathlib import Path

import pytest

from pml_incremental.config import ConfigError, load_config, validate

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = sorted((CONFIGS / "losses").glob("*.yaml"))
# These losses are fed by a strategy.
STRATEGY_OF = {"fecd": "fecd", "feature_estimation": "fecd", "lwf": "lwf"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_loss_file_can_be_laid_over_a_config(path):
    config = load_config([CONFIGS / "glyphs.yaml", path])
    ((name, weight), *_) = config.loss_weights.items()
    assert name in config.loss_funcs
    assert weight > 0
    strategy = STRATEGY_OF.get(path.stem)
    if strategy is None:
        validate(config)
        assert [spec.class_name for spec in config.strategies] == ["finetune"]
        return
    with pytest.raises(ConfigError, match=rf"remove it and use strategies: \[{strategy}\]"):
        validate(config)
