"""The pages about datasets, trunks and strategies name what there is."""

import re
from pathlib import Path

import pytest

from pml_incremental.config import available, load_config, validate
from pml_incremental.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]


def first_cells(page):
    text = (ROOT / "docs" / page).read_text()
    return re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)


def test_every_dataset_and_every_strategy_has_its_row():
    ours = [name for name, (origin, _) in available("dataset").items() if "incremental" in origin]
    assert sorted(first_cells("datasets.md"), key=str.lower) == ours
    assert set(STRATEGIES) <= set(first_cells("strategies.md"))


def test_every_paper_config_has_its_row_with_its_classes():
    text = (ROOT / "docs" / "datasets.md").read_text()
    rows = re.findall(r"^\| `(configs/\w+\.yaml)` \| ([^|]+) \|", text, re.MULTILINE)
    assert len(rows) == 6
    for path, classes in rows:
        config = load_config([ROOT / path])
        validate(config)
        first, later = classes.split(", ")
        times, _, size = later.removeprefix("then ").rpartition(" x ")
        tasks = [int(first)] + [int(size)] * int(times or 1)
        assert config.scenario.kwargs["classes_per_task"] == tasks


TRUNKS = re.findall(
    r"^\| [^|]+ \| `([a-zA-Z]\w*: \{.*?\})`",
    (ROOT / "docs" / "trunks.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_trunks_of_the_page_are_valid(trunk):
    config = load_config([ROOT / "configs" / "cub_sequential.yaml"], [f"models.trunk={{{trunk}}}"])
    validate(config)


def test_every_trunk_was_found():
    assert len(TRUNKS) == 6
