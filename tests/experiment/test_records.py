"""Records of whole runs."""

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.config import ConfigError, load_config, validate
from pml_incremental.experiment import run

ROOT = Path(__file__).parents[2]
WRITERS = ["RecordKeeperWriter", "TensorBoardWriter"]
STRATEGIES = ["correlation", {"fecd": {"estimator": "AccuracyChangeEstimator"}}]
FECD = "fecd-estimator_AccuracyChangeEstimator"


def rows(folder, query):
    with closing(sqlite3.connect(folder / "logs.db")) as connection:
        return connection.execute(query).fetchall()


def same_weights(first, second):
    stages = sorted(path.relative_to(first) for path in first.rglob("model.safetensors"))
    assert len(stages) == 5
    for stage in stages:
        one, two = load_file(first / stage), load_file(second / stage)
        assert all(torch.equal(one[key], two[key]) for key in one), stage


@pytest.fixture(scope="module")
def recorded(tiny_config, tmp_path_factory):
    records = {"every": 2, "writers": WRITERS}
    config = tiny_config(tmp_path_factory.mktemp("runs"), strategies=STRATEGIES, records=records)
    return config, run(config, progress=False)


@pytest.mark.usefixtures("without_pictures")
def test_recorded_run_equals_an_unrecorded_one(recorded, tiny_config, tmp_path):
    plain = run(tiny_config(tmp_path, strategies=STRATEGIES), progress=False)
    assert plain.strategies == recorded[1].strategies
    same_weights(plain.folder, recorded[1].folder)
    assert not (plain.folder / "records").exists()


def test_every_task_has_records_of_its_own(recorded):
    folder = recorded[1].folder / "records"
    first = rows(folder / "task_1", "SELECT [~iteration~], total_loss FROM losses")
    assert [row[0] for row in first] == [0, 2, 4]
    later = rows(folder / FECD / "task_3", "SELECT * FROM losses")
    assert len(later) == 2
    columns = "metric_loss, correlation_loss, estimation_loss, total_loss"
    for *parts, total in rows(folder / FECD / "task_3", f"SELECT {columns} FROM losses"):
        assert sum(parts) == pytest.approx(total, rel=1e-5)
    assert not (folder / FECD / "task_1").exists()  # shared


def test_summary_over_tasks(recorded):
    result = recorded[1]
    folder = result.folder / "records" / FECD / "summary"
    matrix = result.strategies[FECD]["own/recall_at_1"]
    columns = "own_recall_at_1_last, own_recall_at_1_forgetting"
    table = rows(folder, f"SELECT [~iteration~], {columns} FROM summary")
    assert [row[0] for row in table] == [1, 2, 3]
    assert table[-1][1:] == pytest.approx((matrix.last(), matrix.forgetting()))
    memory = json.loads((result.folder / FECD / "task_3" / "memory.json").read_text())
    table = rows(folder, "SELECT [~iteration~], low, high FROM range_M_1")
    assert table[-1] == (3, *memory["ranges"]["M_1"])
    assert rows(folder, "SELECT bytes FROM memory")[-1] == (memory["bytes"],)


def test_pictures_for_tensorboard(recorded):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(recorded[1].folder / "records" / FECD / "summary/tensorboard"))
    events.Reload()
    tags = events.Tags()
    matrices = {"own_recall_at_1_matrix", "joint_recall_at_1_matrix"}
    assert set(tags["images"]) == {"retrieval"} | matrices
    assert "summary/own_recall_at_1_last" in tags["scalars"]


def test_resumed_run_has_the_records_of_an_uninterrupted_one(recorded, tmp_path):
    config, result = recorded
    folder = shutil.copytree(result.folder, tmp_path / "tiny")
    (folder / FECD / "task_3" / "evaluation.json").unlink()
    run(config.model_copy(update={"output": tmp_path}), progress=False)
    for scope, table in ((f"{FECD}/task_3", "losses"), (f"{FECD}/summary", "summary")):
        query = f"SELECT * FROM {table}"
        whole = rows(result.folder / "records" / scope, query)
        assert rows(folder / "records" / scope, query) == whole


@pytest.mark.usefixtures("without_pictures")
def test_a_recorded_run_goes_on_without_records(recorded):
    config, result = recorded
    other = config.model_copy(update={"records": type(config.records)()})
    assert run(other, progress=False).strategies == result.strategies


@pytest.mark.parametrize("writer", ["MLflowWriter", "WandbWriter"])
def test_optional_writers_in_a_run(writer, recorded, tiny_config, tmp_path):
    pytest.importorskip({"MLflowWriter": "mlflow", "WandbWriter": "wandb"}[writer])
    records = {"writers": [writer]}
    config = tiny_config(tmp_path, tasks=2, strategies=["correlation"], records=records)
    folder = run(config, progress=False).folder
    plain = recorded[1].folder
    for stage in ("task_1", "correlation/task_2"):
        one, two = (load_file(f / stage / "model.safetensors") for f in (folder, plain))
        assert all(torch.equal(one[key], two[key]) for key in one), stage
    if writer == "WandbWriter":
        for scope in ("task_1", "correlation/task_2", "correlation/summary"):
            assert list((folder / "records" / scope / "wandb").glob("offline-run-*/*.wandb"))
        return
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{folder / 'records' / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    found = {item.info.run_name: item.data.metrics for item in runs}
    assert found.keys() == {"task_1", "correlation/task_2", "correlation/summary"}
    assert "losses/total_loss" in found["correlation/task_2"]
    assert "summary/own_recall_at_1_last" in found["correlation/summary"]


def test_writers_are_checked_with_the_config(tmp_path):
    file = tmp_path / "c.yaml"
    base = load_config([ROOT / "configs/glyphs.yaml"]).to_yaml_dict()
    for writers, message in (
        (["TensorBoardWritr"], "TensorBoardWriter"),
        ([{"WandbWriter": {"mode": "sometimes"}}], "mode"),
        ([{"TensorBoardWriter": {"folder": "x"}}], "set by the task loop"),
    ):
        file.write_text(json.dumps({**base, "records": {"writers": writers}}))
        with pytest.raises(ConfigError, match=message):
            validate(load_config([file]))
