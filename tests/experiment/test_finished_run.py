import shutil

import numpy as np
import pytest
import torch

from pml_incremental.experiment import run
from pml_incremental.experiment.finished_run import FinishedRun, collect_details
from pml_incremental.experiment.running.stage import report_of_memory
from pml_incremental.metrics import hit_at_k
from pml_incremental.search import ExactSearch, Lookup
from pml_incremental.strategies import Component, Strategy

pytestmark = pytest.mark.usefixtures("module_without_pictures")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_config):
    config = tiny_config(tmp_path_factory.mktemp("runs"), strategies=["finetune", "pretrained"])
    return run(config, progress=False)


def test_models_of_a_stage_give_what_was_measured(finished):
    details = collect_details(FinishedRun(finished.folder), "finetune")
    cross, reindexed = details.cross, details.reindexed
    measured = finished.strategies["finetune"]["own/recall_at_1"].values
    assert cross[0, 0] == pytest.approx(measured[1, 0])
    assert reindexed[2, 0] == pytest.approx(measured[3, 0])
    joint = finished.strategies["finetune"]["joint/recall_at_1"].values
    assert cross.shape == (3, 3)
    assert np.isfinite(cross[np.tril_indices(3)]).all()
    assert min(joint[3]) <= cross[2, 2] <= max(joint[3])


def test_the_models_before_any_task_are_those_that_were_measured(finished):
    opened = FinishedRun(finished.folder)
    embeddings, labels = opened.embed(opened.models_before_tasks())
    measured = finished.strategies["finetune"]["own/recall_at_1"].values[0]
    for x, y, expected in zip(embeddings, labels, measured, strict=True):
        every = range(len(y))
        (found,) = ExactSearch(x, y).rank_matches([Lookup(every, every, depth=1)])
        assert float(hit_at_k(found, 1).mean()) == pytest.approx(expected)


def test_a_folder_without_a_finished_run_or_weights_is_refused(finished, tmp_path):
    with pytest.raises(ValueError, match=r"not the folder of a finished run: it has no config\.y"):
        FinishedRun(tmp_path)
    opened = FinishedRun(finished.folder)
    assert opened.strategies == ["finetune", "pretrained"]
    with pytest.raises(ValueError, match="has no strategy 'lwf'; known: finetune, pretrained"):
        opened.models("lwf", 2)
    with pytest.raises(ValueError, match=r"finetune/task_9/model\.safetensors is missing"):
        opened.models("finetune", 9)
    with pytest.raises(ValueError, match="has no strategy 'finetun'; did you mean 'finetune'"):
        opened.weights("finetun", 1)


def test_a_missing_first_model_is_not_replaced_by_that_of_plain_training(finished, tmp_path):
    opened = FinishedRun(shutil.copytree(finished.folder, tmp_path / "run"))
    shared = opened.weights("finetune", 1)
    own = opened.weights("pretrained", 1)
    assert own.parent.parent.name == "pretrained"
    assert shared.parent.parent == opened.folder
    own.unlink()
    with pytest.raises(ValueError, match=r"pretrained/task_1/model\.safetensors is missing"):
        opened.weights("pretrained", 1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_run_of_a_gpu_is_opened_without_one(finished, tmp_path, caplog):
    copy = shutil.copytree(finished.folder, tmp_path / "run")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("device: auto", "device: cuda"))
    opened = FinishedRun(copy)
    assert opened.config.device == "cuda"
    assert opened.device == torch.device("cpu")
    assert "the run was trained on cuda, which is not here: it is on cpu" in caplog.text
    models = opened.models("finetune", 2)
    assert next(models["trunk"].parameters()).device == torch.device("cpu")


def test_reports_of_two_components_are_both_kept():
    class Says(Component):
        def __init__(self, **said):
            self.said = said

        def report(self):
            return self.said

    strategy = Strategy(components=(Says(new_share=0.25), Says(new_share=0.5, bytes=8)))
    assert report_of_memory(strategy) == {"new_share": 0.25, "new_share_2": 0.5, "bytes": 8}
