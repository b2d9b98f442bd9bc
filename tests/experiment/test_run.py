import json
import shutil

import pytest
from stage_weights import same, weights

from pml_incremental.experiment import run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

TASKS = 3


def quiet_run(config):
    return run(config, progress=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_config):
    config = tiny_config(tmp_path_factory.mktemp("runs"))
    return config, quiet_run(config)


def test_result_has_a_full_matrix_per_strategy_and_metric(finished):
    _, result = finished
    assert list(result.strategies) == ["finetune", "correlation"]
    for matrices in result.strategies.values():
        own, joint = matrices["own/recall_at_1"].values, matrices["joint/recall_at_1"].values
        assert own.shape == (TASKS + 1, TASKS)
        assert ((own >= 0) & (own <= 1)).all()
        # The joint gallery holds the tasks seen so far, so before any task there is none.
        seen = [[i >= j for j in range(1, TASKS + 1)] for i in range(TASKS + 1)]
        assert (joint == joint).tolist() == seen
        assert (joint[1, 0], joint[0, 0] == joint[0, 0]) == (own[1, 0], False)


def test_strategies_share_the_start_and_then_part(finished):
    _, result = finished
    finetune, correlation = (m["own/recall_at_1"].values for m in result.strategies.values())
    assert (finetune[:2] == correlation[:2]).all()
    folder = result.folder
    assert not same(weights(folder, "finetune/task_3"), weights(folder, "correlation/task_3"))
    names = set(weights(folder, "finetune/task_2"))
    assert {"trunk.0.0.weight", "trunk.0.1.running_mean", "embedder.0.bias"} <= names


def test_files_of_a_run(finished):
    _, result = finished
    written = {str(path.relative_to(result.folder)) for path in result.folder.rglob("*.*")}
    assert {
        "config.yaml",
        "environment.json",
        "metrics.json",
        "before/evaluation.json",
        "task_1/model.safetensors",
        "correlation/task_3/model.safetensors",
        "correlation/own_recall_at_1.csv",
        "finetune/joint_mean_average_precision_at_r.csv",
        "pictures/own_recall_at_1_over_time.png",
        "pictures/own_recall_at_1_matrix_correlation.png",
        "pictures/retrieval_correlation.png",
    } <= written
    metrics = json.loads((result.folder / "metrics.json").read_text())
    assert metrics == result.to_dict()


def test_same_seed_same_weights_other_seed_others(finished, tiny_config, tmp_path):
    _, result = finished
    again = quiet_run(tiny_config(tmp_path / "again"))
    other = quiet_run(tiny_config(tmp_path / "other", seed=1, strategies=["finetune"]))
    for stage in ("task_1", "finetune/task_3", "correlation/task_3"):
        assert same(weights(result.folder, stage), weights(again.folder, stage)), stage
    assert not same(weights(result.folder, "task_1"), weights(other.folder, "task_1"))


@pytest.mark.parametrize("lost", ["before", "task_1", "correlation/task_2", "correlation/task_3"])
def test_resumed_run_equals_an_uninterrupted_one(finished, tmp_path, lost):
    config, result = finished
    shutil.copytree(result.folder, tmp_path / "tiny")
    # A killed run leaves a stage without its evaluation, which is written last.
    (tmp_path / "tiny" / lost / "evaluation.json").unlink()
    resumed = quiet_run(config.model_copy(update={"output": tmp_path}))
    assert resumed.strategies == result.strategies
    stage = "correlation/task_3"
    assert same(weights(result.folder, stage), weights(resumed.folder, stage))


def test_finished_stages_are_not_learned_again(finished):
    config, result = finished
    stage = result.folder / "correlation/task_2/model.safetensors"
    before = stage.stat().st_mtime_ns
    again = quiet_run(config)
    assert stage.stat().st_mtime_ns == before
    assert again.strategies == result.strategies


def test_options_have_folders_of_their_own_and_weight_zero_is_finetuning(
    finished, tiny_config, tmp_path
):
    strategies = ["correlation", {"correlation": {"weight": 0}}]
    result = quiet_run(tiny_config(tmp_path, strategies=strategies))
    assert list(result.strategies) == ["correlation", "correlation-weight_0"]
    zero = weights(result.folder, "correlation-weight_0/task_3")
    assert same(zero, weights(finished[1].folder, "finetune/task_3"))


def test_proxies_and_classifier_grow_with_the_classes(tiny_config, with_classifier, tmp_path):
    adam = {"Adam": {"lr": 1e-3}}
    changes = {
        **with_classifier,
        "loss_funcs": {"metric_loss": "ProxyAnchorLoss", "classifier_loss": "CrossEntropyLoss"},
        "optimizers": {**with_classifier["optimizers"], "metric_loss_optimizer": adam},
    }
    config = tiny_config(tmp_path, strategies=["correlation"], **changes)
    result = quiet_run(config)
    first = weights(result.folder, "task_1")
    last = weights(result.folder, "correlation/task_3")
    assert first["classifier.weight"].shape == first["metric_loss.proxies"].shape == (8, 8)
    assert last["classifier.weight"].shape == last["metric_loss.proxies"].shape == (24, 8)
    (tmp_path / "tiny/correlation/task_3/evaluation.json").unlink()
    resumed = quiet_run(config)
    assert resumed.strategies == result.strategies


def test_folder_of_another_run_is_refused(finished, tmp_path):
    config, result = finished
    other = config.model_copy(update={"seed": 5})
    with pytest.raises(ValueError, match="seed: 0 there, 5 now"):
        quiet_run(other)
    assert json.loads((result.folder / "metrics.json").read_text()) == result.to_dict()


def test_what_cannot_be_learned_is_said_first(tiny_config, tmp_path):
    optimizers = {"trunk_optimizer": {"Adam": {"lr": 1e-3}}}
    with pytest.raises(ValueError, match="embedder_optimizer missing"):
        quiet_run(tiny_config(tmp_path / "a", optimizers=optimizers))
    trainer = {"IncrementalMetricLoss": {"batch_size": 80}}
    with pytest.raises(ValueError, match="task_1"):
        quiet_run(tiny_config(tmp_path / "b", trainer=trainer))
    assert not (tmp_path / "b").exists()


def test_an_approximate_search_is_recorded_with_its_recall(tiny_config, tmp_path):
    pytest.importorskip("faiss")
    tester = {"IncrementalTester": {"metrics": ["recall_at_1"], "ks": [1], "index": "HNSW2"}}
    options = {"tasks": 2, "tester": tester, "strategies": ["finetune"]}
    found = run(tiny_config(tmp_path, **options), progress=False).strategies["finetune"]
    recall = found["joint/recall_of_index"].values
    assert ((recall > 0) & (recall <= 1)).all()
    assert (recall[:, 0] == recall[:, 1]).all()
