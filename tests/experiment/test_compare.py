import io
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stage_weights import same, weights

from pml_incremental.datasets import image_files
from pml_incremental.datasets.image_files import known_looks
from pml_incremental.experiment import (
    LocalProcesses,
    Result,
    Submitit,
    ThisProcess,
    choose_strategies,
    compare,
    run,
)
from pml_incremental.experiment.comparison.compare import (
    Comparison,
    with_seed,
    write_comparison,
)
from pml_incremental.experiment.comparison.engines import visible_gpus
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import OWN

pytestmark = pytest.mark.slow  # whole runs


def count_calls(function, calls):
    return lambda *arguments: calls.append(1) or function(*arguments)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_config):
    config = tiny_config(tmp_path_factory.mktemp("runs"), tasks=2, strategies=["finetune", "si"])
    return config, compare(config, [0, 3], progress=False)


def test_each_seed_is_the_run_that_it_would_be_alone(finished, tmp_path):
    config, comparison = finished
    other = config.model_copy(update={"output": tmp_path})
    alone = run(with_seed(other, 3), progress=False)
    assert alone.strategies == comparison.results[3].strategies
    stage = "finetune/task_2"
    assert same(weights(alone.folder, stage), weights(comparison.folder / "seed_3", stage))
    there = {path.relative_to(alone.folder) for path in alone.folder.rglob("*.*")}
    folder = comparison.folder / "seed_3"
    assert there <= {path.relative_to(folder) for path in folder.rglob("*.*")}


def test_report_has_tables_and_pictures(finished):
    _, comparison = finished
    names = {path.name for path in (comparison.folder / "report").iterdir()}
    pictures = {f"{name}.png" for name in ("pareto", "forgetting", "matrix_finetune", "matrix_si")}
    assert names == pictures | {"table.md", "table.tex", "table.csv"}
    matrices = comparison.matrices("si", "own/recall_at_1")
    expected = np.mean([m.values[-1, 0] for m in matrices])
    row = (comparison.folder / "report/table.csv").read_text().splitlines()[2].split(",")
    assert row[0] == "si"
    assert float(row[1]) == pytest.approx(expected)
    metrics = json.loads((comparison.folder / "seed_0/metrics.json").read_text())
    assert list(metrics["strategies"]) == ["finetune", "si"]


@pytest.mark.usefixtures("without_pictures")
def test_more_seeds_and_strategies_are_added_to_what_is_there(finished, tmp_path):
    config, other = finished
    shutil.copytree(other.folder / "seed_0", tmp_path / "tiny/seed_0")
    stage = tmp_path / "tiny/seed_0/finetune/task_2/model.safetensors"
    first = tmp_path / "tiny/seed_0/task_1/model.safetensors"
    before = stage.stat().st_mtime_ns, first.stat().st_mtime_ns
    more = choose_strategies(config, ["finetune", "l2"])
    more = more.model_copy(update={"output": tmp_path})
    comparison = compare(more, [0, 3], progress=False)
    assert (stage.stat().st_mtime_ns, first.stat().st_mtime_ns) == before
    assert comparison.strategies == ("finetune", "l2")
    assert comparison.results[3].strategies["finetune"] == other.results[3].strategies["finetune"]


def test_killed_comparison_goes_on(finished, tmp_path):
    config, comparison = finished
    folder = shutil.copytree(comparison.folder, tmp_path / "tiny") / "seed_0"
    (folder / "si/matrices.json").unlink()
    (folder / "si/task_2/evaluation.json").unlink()
    again = compare(config.model_copy(update={"output": tmp_path}), [0], progress=False)
    assert again.results[0].strategies == comparison.results[0].strategies


@pytest.mark.usefixtures("without_pictures")
def test_images_are_looked_at_once_for_all_seeds(tiny_config, tmp_path, draw_classes, monkeypatch):
    root = draw_classes(tmp_path / "photos", "abcd", images=12)
    decoded = []
    monkeypatch.setattr(image_files, "_look_at", count_calls(image_files._look_at, decoded))
    dataset = {"ImageFolder": {"root": str(root)}}
    changes = {"scenario": {"ClassIncrementalScenario": {"classes_per_task": [2, 2]}}}
    changes["trainer"] = {"IncrementalMetricLoss": {"batch_size": 8, "iterations_per_epoch": 1}}
    trunk = {"SmallConvNet": {"in_channels": 3, "width": 4}}
    changes["models"] = {"trunk": trunk, "embedder": {"MLP": {"layer_sizes": [8]}}}
    config = tiny_config(tmp_path, dataset=dataset, strategies=["finetune"], **changes)
    compare(config, [0, 1], progress=False)
    assert len(decoded) == 48


def test_several_processes_give_what_one_gives(finished, tiny_config, tmp_path):
    config = tiny_config(tmp_path, tasks=2, strategies=["finetune", "si"])
    comparison = compare(config, [0, 3], engine=LocalProcesses(2), progress=False)
    for seed, result in comparison.results.items():
        assert result.strategies == finished[1].results[seed].strategies
    learned = comparison.folder / "seed_0/task_1/model.safetensors"
    assert same(load_file(learned), weights(finished[1].folder / "seed_0", "task_1"))


def note_gpu(file):
    assert file.parent / "c/0.png" in known_looks
    time.sleep(1)  # so that the other process takes the other item
    file.write_text(os.environ["CUDA_VISIBLE_DEVICES"])


def test_processes_know_the_images_and_each_sees_a_gpu_of_its_own(
    tmp_path, draw_classes, monkeypatch
):
    draw_classes(tmp_path, "c", images=1)
    image_files.look_at_images([tmp_path / "c/0.png"], progress=False)
    files = [tmp_path / "a", tmp_path / "b"]
    LocalProcesses(2, gpus=["3", "GPU-5ac"]).run(note_gpu, files)
    assert {file.read_text() for file in files} == {"3", "GPU-5ac"}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert visible_gpus() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5ac")
    assert visible_gpus() == ["3", "GPU-5ac"]


@pytest.mark.usefixtures("without_pictures")
def test_first_task_is_learned_once_per_seed(tiny_config, tmp_path):
    calls = []

    class Recorder(ThisProcess):
        def run(self, function, items):
            calls.append([(item.config.seed, item.spec and item.spec.class_name) for item in items])
            super().run(function, items)

    config = tiny_config(tmp_path, tasks=2, strategies=["frozen", "pretrained"])
    compare(config, [1, 2], engine=Recorder(), progress=False)
    assert calls[0] == [(1, None), (2, None)]
    assert sorted(calls[1]) == [(s, n) for s in (1, 2) for n in ("frozen", "pretrained")]


def test_submitit_runs_the_same(finished, tiny_config, tmp_path):
    pytest.importorskip("submitit")
    config = tiny_config(tmp_path, tasks=2, strategies=["finetune"])
    engine = Submitit(tmp_path / "logs", cluster="local", parameters={"timeout_min": 10})
    comparison = compare(config, [3], engine=engine, progress=False)
    expected = finished[1].results[3].strategies["finetune"]
    assert comparison.results[3].strategies["finetune"] == expected


@pytest.mark.parametrize("engine", [ThisProcess(), LocalProcesses(2)])
def test_error_in_a_share_is_raised(tiny_config, tmp_path, engine):
    config = tiny_config(tmp_path, trainer={"IncrementalMetricLoss": {"batch_size": 80}})
    with pytest.raises(ValueError, match="a batch of 80 takes"):
        compare(config, [0], engine=engine, progress=False)


def test_bad_seeds_and_no_processes(finished):
    for seeds in ([], [1, 1], [-1]):
        with pytest.raises(ValueError, match="seeds must be different numbers"):
            compare(finished[0], seeds, progress=False)
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        LocalProcesses(0)


def test_tables_are_written_in_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "text_encoding", lambda encoding, _=2: encoding or "ascii")
    with pytest.raises(UnicodeEncodeError):
        Path(tmp_path, "locale.txt").write_text("±")
    matrices = {OWN: TaskMatrix([[0.1, 0.2], [0.5, 0.2], [0.4, 0.6]])}
    results = {seed: Result(f"seed_{seed}", tmp_path, {"naïve": matrices}) for seed in (0, 1)}
    write_comparison(Comparison("demo", tmp_path, results))
    assert "naïve" in (tmp_path / "report/table.md").read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("*.part"))
