"""The pages about datasets and trunks name what there is."""

import re
from pathlib import Path

import pytest
import yaml

from pml_incremental.config import available, load_config, validate

ROOT = Path(__file__).parents[1]


def first_cells(page):
    return re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / page).read_text(), re.MULTILINE)


def test_every_dataset_has_its_row():
    ours = [name for name, (origin, _) in available("dataset").items() if "incremental" in origin]
    assert sorted(first_cells("datasets.md"), key=str.lower) == ours


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


def examples(page):
    return re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)


TRUNKS = re.findall(
    r"^\| [^|]+ \| `([a-zA-Z]\w*: \{.*?\})`",
    (ROOT / "docs" / "trunks.md").read_text(),
    re.MULTILINE,
)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_trunks_of_the_page_are_valid(trunk):
    config = load_config([ROOT / "configs" / "cub_sequential.yaml"], [f"models.trunk={{{trunk}}}"])
    validate(config)


def test_examples_are_valid(tmp_path):
    assert len(TRUNKS) == 5
    for page in ("datasets.md", "trunks.md"):
        for number, text in enumerate(examples(page)):
            layer = tmp_path / f"{page}.{number}.yaml"
            layer.write_text(text)
            assert yaml.safe_load(text)
            validate(load_config([ROOT / "configs" / "cub_sequential.yaml", layer]))
