"""Every writer, read back by the tool that it writes for."""

import csv
import json
import math
import struct

import numpy as np
import pytest
from PIL import Image

from pml_incremental.metrics import TaskMatrix
from pml_incremental.records import SeveralWriters, check_table_name, record_task_summary
from pml_incremental.records.writers import (
    MLflowWriter,
    RecordKeeperWriter,
    TensorBoardWriter,
    WandbWriter,
)

CONFIG = {"seed": 3, "trainer": {"IncrementalMetricLoss": {"batch_size": 16}}, "strategies": ["a"]}
SCOPE = "l2+ewc-ewc.weight_5/task_2"


@pytest.fixture
def picture(tmp_path):
    file = tmp_path / "picture.png"
    Image.new("RGB", (6, 4), (255, 0, 0)).save(file)
    return file


def write_all(writer, picture):
    writer.config(CONFIG)
    writer.scalars("losses", {"total": np.float32(0.5), "penalty": math.nan}, 0)
    writer.scalars("losses", {"total": 0.25, "penalty": 1.0}, 50)
    writer.scalars("other", {"value": True}, 1)
    writer.image("retrieval", picture, 2)
    writer.close()


def test_record_keeper(tmp_path, picture):
    writer = RecordKeeperWriter(tmp_path / "records", SCOPE)
    write_all(writer, picture)
    folder = tmp_path / "records" / SCOPE
    names = {"config.json", "logs.db", "losses.csv", "other.csv"}
    assert {path.name for path in folder.iterdir()} == names
    rows = [dict(row) for row in writer.keeper.query("SELECT total, penalty FROM losses")]
    assert rows == [{"total": 0.5, "penalty": None}, {"total": 0.25, "penalty": 1.0}]
    with (folder / "losses.csv").open() as file:
        assert [row["~iteration~"] for row in csv.DictReader(file)] == ["0", "50"]
    assert writer.keeper.query("SELECT value FROM other")[0]["value"] == 1.0
    assert json.loads((folder / "config.json").read_text()) == CONFIG
    with pytest.raises(ValueError, match="group 'own/recall'"):
        writer.scalars("own/recall", {"x": 1.0}, 1)


def test_tensorboard(tmp_path, picture):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_all(TensorBoardWriter(tmp_path, SCOPE), picture)
    events = EventAccumulator(str(tmp_path / SCOPE / "tensorboard"))
    events.Reload()
    points = [(e.step, e.value) for e in events.Scalars("losses/total")]
    assert points == [(0, 0.5), (50, 0.25)]
    assert [(e.step, e.value) for e in events.Scalars("losses/penalty")] == [(50, 1.0)]
    (image,) = events.Images("retrieval")
    assert (image.step, image.width, image.height) == (2, 6, 4)
    assert "config/text_summary" in events.Tags()["tensors"]


def test_mlflow(tmp_path, picture):
    tracking = pytest.importorskip("mlflow.tracking")
    pytest.importorskip("sqlalchemy")
    folder = tmp_path / "records"
    MLflowWriter(folder, SCOPE, "demo")  # left by a run that was killed
    write_all(MLflowWriter(folder, SCOPE, "demo"), picture)
    client = tracking.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("demo").experiment_id
    (found,) = client.search_runs([experiment])
    assert (found.info.run_name, found.info.status) == (SCOPE, "FINISHED")
    assert found.data.params["trainer.IncrementalMetricLoss.batch_size"] == "16"
    history = client.get_metric_history(found.info.run_id, "losses/total")
    assert sorted((point.step, point.value) for point in history) == [(0, 0.5), (50, 0.25)]
    pictures = client.list_artifacts(found.info.run_id, "pictures/retrieval")
    assert [item.path for item in pictures] == ["pictures/retrieval/picture.png"]


def leveldb_records(content):
    """The records of a log in LevelDB's format that fits one block, as W&B's small files do."""
    assert len(content) < 32768
    start = 7  # after W&B's own header
    while start < len(content):
        length, kind = struct.unpack_from("<HB", content, start + 4)
        assert kind == 1  # whole
        yield content[start + 7 : start + 7 + length]
        start += 7 + length


def test_wandb_offline(tmp_path, picture):
    wandb = pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    write_all(WandbWriter(tmp_path, SCOPE, "demo"), picture)
    wandb.teardown()  # its process may write a little longer than the run lasts
    (file,) = (tmp_path / SCOPE / "wandb").glob("offline-run-*/run-*.wandb")
    points = []
    for data in leveldb_records(file.read_bytes()):
        history = Record.FromString(data).history
        points.append({item.key or item.nested_key[0]: item.value_json for item in history.item})
    totals = [(p["losses/step"], p["losses/total"]) for p in points if "losses/total" in p]
    assert totals == [("0", "0.5"), ("50", "0.25")]
    assert any("pictures/retrieval" in point for point in points)


def test_missing_package_is_named(tmp_path, monkeypatch):
    for package, writer in (("mlflow", MLflowWriter), ("wandb", WandbWriter)):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install \"pml-incremental\["):
            writer(tmp_path, "task_1", "demo")


def test_several_writers_are_all_closed_though_one_fails(tmp_path):
    class Failing(RecordKeeperWriter):
        def close(self):
            closed.append(self)
            raise OSError("disk full")

    closed = []
    writers = [Failing(tmp_path, "a"), Failing(tmp_path, "b")]
    with pytest.raises(OSError, match="disk full"):
        SeveralWriters(writers).close()
    assert len(closed) == 2


def test_task_summary_is_that_of_the_matrix_so_far(tmp_path):
    matrix = TaskMatrix([[0.1, 0.1, 0.2], [0.9, 0.2, 0.3], [0.6, 0.8, 0.2], [0.5, 0.7, 0.9]])
    writer = RecordKeeperWriter(tmp_path, "summary")
    for task in (1, 2, 3):
        record_task_summary(writer, {"own/recall_at_1": matrix}, task)
    rows = [dict(row) for row in writer.keeper.query("SELECT * FROM summary")]
    assert [row["~iteration~"] for row in rows] == [1, 2, 3]
    last = [row["own_recall_at_1_last"] for row in rows]
    assert last == pytest.approx([0.9, 0.7, 0.7])
    forgetting = [row["own_recall_at_1_forgetting"] for row in rows]
    assert forgetting[0] is None
    assert forgetting[1:] == pytest.approx([0.3, (0.4 + 0.1) / 2])
    rows = writer.keeper.query("SELECT task_1, task_2, task_3 FROM own_recall_at_1")
    assert [tuple(row) for row in rows] == [tuple(row) for row in matrix.values[1:].tolist()]
    with pytest.raises(ValueError, match="tasks 1 to 3"):
        record_task_summary(writer, {"own/recall_at_1": matrix}, 4)


@pytest.mark.parametrize("name", ["1_task", "a b", "a" * 3 + "_" + "b" * 65 + "_c", ""])
def test_names_that_record_keeper_would_spoil(name):
    with pytest.raises(ValueError, match="table"):
        check_table_name(name)
