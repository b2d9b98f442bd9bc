import pytest
import torch

from pml_incremental.experiment.running.run_folder import RunFolder

CONFIG = {"name": "x", "seed": 0, "output": "runs", "strategies": ["finetune"]}


def test_a_folder_holds_the_config_which_may_come_back_with_more_strategies(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG)
    assert "seed: 0" in (folder.path / "config.yaml").read_text()
    later = {**CONFIG, "strategies": ["finetune", "correlation"], "output": "elsewhere"}
    RunFolder(tmp_path / "run", later)
    assert "correlation" in (tmp_path / "run" / "config.yaml").read_text()


def learned(folder):
    folder.file("task_1/evaluation.json").write_text("{}")


def test_folders_of_earlier_versions_lack_keys_that_came_later(tmp_path):
    models = {"trunk": {"SmallConvNet": {}}}
    RunFolder(tmp_path / "run", {**CONFIG, "models": models})
    learned(RunFolder(tmp_path / "run", {**CONFIG, "models": {**models, "compile": False}}))
    with pytest.raises(ValueError, match=r"config:\n  models\.compile: False there, True now\n"):
        RunFolder(tmp_path / "run", {**CONFIG, "models": {**models, "compile": True}})


def test_another_config_is_refused_and_leaves_the_first_alone(tmp_path):
    learned(RunFolder(tmp_path / "run", CONFIG))
    before = (tmp_path / "run" / "config.yaml").read_text()
    message = r"different config:\n  seed: 0 there, 1 now\n.*another name"
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path / "run", {**CONFIG, "seed": 1})
    assert (tmp_path / "run" / "config.yaml").read_text() == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="is not a run's folder"):
        RunFolder(tmp_path / "other", CONFIG)
    assert (tmp_path / "other/thesis.tex").read_text() == "years of work"


def test_a_run_that_failed_as_it_began_may_be_corrected(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG)
    with folder.lock("finetune"), pytest.raises(ValueError, match="seed: 0 there, 1 now"):
        RunFolder(tmp_path / "run", {**CONFIG, "seed": 1})
    RunFolder(tmp_path / "run", {**CONFIG, "seed": 1})
    assert "seed: 1" in (tmp_path / "run" / "config.yaml").read_text()


def test_json_and_tensors_come_back(tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG)
    assert folder.read_json("task_1/evaluation.json") is None
    folder.write_json("task_1/evaluation.json", {"recall": 0.1 + 0.2, "none": None})
    assert folder.read_json("task_1/evaluation.json") == {"recall": 0.1 + 0.2, "none": None}
    tensors = {"a": torch.randn(3, 2).T, "b": torch.arange(4)}
    folder.write_tensors("task_1/model.safetensors", tensors)
    loaded = folder.read_tensors("task_1/model.safetensors")
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    assert not list(folder.path.rglob("*.part"))
