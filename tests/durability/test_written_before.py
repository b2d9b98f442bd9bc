"""What an earlier version wrote (commit d2a1d9d, 2026-11-27) is still read and gone on with."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from pml_incremental.config import load_config
from pml_incremental.experiment import run, update
from pml_incremental.gallery import Gallery, WeightsModel
from pml_incremental.gallery.image_files import ImageFiles

WRITTEN = Path(__file__).parents[1] / "data" / "written_before"


@pytest.fixture
def config(tmp_path):
    shutil.copytree(WRITTEN / "run", tmp_path / "before")
    return load_config([tmp_path / "before/config.yaml"], [f"output={tmp_path}"])


def test_a_finished_run_is_not_learned_again(config, tmp_path):
    written = json.loads((tmp_path / "before/metrics.json").read_text())
    result = run(config, progress=False)
    assert result.learned == ()
    assert result.to_dict() == written


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fecd", "replay", "function-matching"])
def test_a_run_is_gone_on_with_from_what_its_strategy_remembers(config, tmp_path, strategy):
    shutil.rmtree(tmp_path / "before" / strategy / "task_3")
    result = run(config, progress=False)
    assert result.learned == (f"{strategy}/task_3",)


def test_a_gallery_and_weights_give_the_same_vectors():
    gallery = Gallery.load(WRITTEN / "shop.gallery")
    images = ImageFiles.under(WRITTEN / "images")
    assert gallery.files.ids == images.ids
    weights = WRITTEN / "run/function-matching/task_3/model.safetensors"
    torch.testing.assert_close(WeightsModel(weights).embed(images), gallery.vectors)


@pytest.mark.slow
def test_weights_are_updated(tmp_path):
    weights = WRITTEN / "run/fecd/task_3/model.safetensors"
    update(weights, WRITTEN / "images", tmp_path / "new.safetensors", progress=False)
    assert (tmp_path / "new.safetensors").is_file()
