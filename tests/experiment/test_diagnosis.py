"""A finished run of four tasks, diagnosed end to end."""

import csv
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image

from pml_incremental.cli import main
from pml_incremental.config import dump_yaml, read_yaml
from pml_incremental.experiment import diagnose, run
from pml_incremental.experiment.diagnosis.bank_replay import (
    StoredRun,
    UnfitRunError,
    candidates_by_task,
)
from pml_incremental.report.results import Diagnosis, EstimationRow
from pml_incremental.storage import read_tensor_file
from pml_incremental.storage.whole_file import host
from pml_incremental.strategies.estimation import Estimation

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_without_pictures")]  # whole runs

STRATEGIES = [
    "finetune",
    {"fecd": {"estimator": "AccuracyChangeEstimator", "estimator_input": "embeddings"}},
    {"fecd": {"estimator_images": "finished", "estimator_input": "embeddings"}},
    {"fecd": {"estimator_images": "finished"}},
    "fecd",
    "frozen",
]
OWN = {
    "fecd-estimator_AccuracyChangeEstimator-estimator_input_embeddings": (
        "AccuracyChangeEstimator",
        "new",
    ),
    "fecd-estimator_images_finished-estimator_input_embeddings": ("LinearEstimator", "finished"),
    "fecd-estimator_images_finished": ("LinearEstimator, trunk", "finished"),
    "fecd": ("LinearEstimator, trunk", "new"),
}
REPLAYED = ["AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator"]
REPLAYED += ["LinearEstimator, trunk", "MLPEstimator, trunk"]


@pytest.fixture(scope="module")
def finished(tiny_config, tmp_path_factory):
    """A run's folder; not to be changed."""
    transforms = {"train": [{"RandomAffine": {"degrees": 10}}]}
    folder = tmp_path_factory.mktemp("runs")
    config = tiny_config(folder, tasks=4, strategies=STRATEGIES, transforms=transforms)
    return run(config, progress=False).folder


@pytest.fixture
def copy(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture(scope="module")
def diagnosis(finished, tmp_path_factory):
    copied = shutil.copytree(finished, tmp_path_factory.mktemp("diagnosed") / "run")
    return diagnose(copied, progress=False)


def test_every_estimator_and_prior_model_is_compared(diagnosis):
    assert diagnosis.strategies == ["finetune", *OWN]
    for strategy in diagnosis.strategies:
        rows = [row for row in diagnosis.rows if row.strategy == strategy]
        expected = {("teacher itself", "")}
        expected |= {(name, on) for name in REPLAYED for on in ("finished", "new")}
        if strategy in OWN:
            name, observed_on = OWN[strategy]
            expected.add((f"its own {name}", observed_on))
        assert {(row.estimator, row.observed_on) for row in rows} == expected
        places = [(3, 1), (4, 1), (4, 2)]
        for images in ("train", "test"):
            for key in expected:
                rows_of = [
                    r for r in rows if (r.estimator, r.observed_on, r.images) == (*key, images)
                ]
                assert [(row.task, row.model) for row in rows_of] == places
    assert all(row.divergence >= 0 and -1 <= row.correlation <= 1 for row in diagnosis.rows)
    assert all(row.drift > 0 for row in diagnosis.rows)


def test_linear_estimates_are_nearer_than_the_teacher_and_models_of_strategies_differ(diagnosis):
    for summary in diagnosis.summaries():
        if "Linear" in summary.estimator:
            assert max(summary.divergence_ratio.values()) < 0.5
        if summary.estimator == "teacher itself":
            assert summary.divergence_ratio == {"train": 1, "test": 1}
            assert summary.nbytes == 0
    drifts = {row.strategy: row.drift for row in diagnosis.rows if row.task == 4}
    assert len(set(drifts.values())) == len(drifts)


def test_replayed_banks_are_those_of_the_run(finished):
    """The linear map and the ranges draw nothing at random but the images' transforms."""
    stored_run = StoredRun(finished)
    for label, (name, observed_on) in OWN.items():
        stored = stored_run.read_strategy(label, stored_run.built_strategies()[label])
        (component,) = (c for c in stored.strategy.components if isinstance(c, Estimation))
        for task, candidates in candidates_by_task(stored_run, stored):
            (replayed,) = (c for c in candidates if (c.name, c.observed_on) == (name, observed_on))
            assert len(component.bank) == task.number - 2
            mine = replayed.estimate.__self__.state_dict()["tensors"]
            theirs = component.bank.state_dict()["tensors"]
            assert mine.keys() == theirs.keys()
            for key in mine:
                torch.testing.assert_close(mine[key], theirs[key])


def files_of(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def test_command_shows_and_writes_the_same_and_changes_nothing_else(copy, diagnosis, capsys):
    before = files_of(copy)
    assert main(["diagnose", str(copy), "--quiet"]) == 0
    after = files_of(copy)
    assert {name: after[name] for name in before} == before
    written = {"diagnosis.json", "diagnosis.csv", "pictures/estimation_error.png"}
    assert after.keys() - before.keys() == written
    out = capsys.readouterr().out
    for text in ("tiny, finetune", "its own LinearEstimator, trunk", f"{diagnosis.model_bytes:,}"):
        assert text in out
    assert "frozen" not in out
    written = json.loads((copy / "diagnosis.json").read_text())
    assert written == json.loads(json.dumps(diagnosis.to_dict()))
    assert written["drift_by_task"]["finetune"]["test"].keys() == {"3", "4"}
    with (copy / "diagnosis.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(diagnosis.rows)
    assert float(lines[-1]["divergence"]) == diagnosis.rows[-1].divergence
    places = {(line["task"], line["model"], line["age"]) for line in lines}
    assert places == {("3", "1", "1"), ("4", "1", "2"), ("4", "2", "1")}
    with Image.open(copy / "pictures/estimation_error.png") as picture:
        assert picture.width > 500


def test_prior_models_cost_what_their_weights_take(diagnosis, finished):
    stored = StoredRun(finished)
    models = stored.read_strategy("finetune", stored.built_strategies()["finetune"]).models
    modules = (models[0].trunk, models[0].embedder)
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    one = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    assert diagnosis.model_bytes == 2 * one


def fails(path, message, capsys):
    assert main(["diagnose", str(path), "-q"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1


def test_a_folder_that_is_no_run_or_of_an_unfinished_one(tmp_path, copy, capsys):
    (tmp_path / "empty").mkdir()
    message = "is not the folder of a finished run: it has no config.yaml"
    fails(tmp_path / "empty", f"{tmp_path / 'empty'} {message}", capsys)
    fails(tmp_path / "none", "is not the folder of a finished run", capsys)
    names = ["task_1/model.safetensors", "finetune/task_4/evaluation.json"]
    for name in (*names, "fecd/task_2/memory.safetensors"):
        (copy / name).rename(tmp_path / "away")
        fails(copy, f"is not finished: {name} is missing", capsys)
        assert not (copy / "diagnosis.json").exists()
        (tmp_path / "away").rename(copy / name)


@pytest.mark.parametrize(
    ("tasks", "strategy", "message"),
    [
        (1, "finetune", "has 1 task, and only from the third task on is there a prior model"),
        (2, "finetune", "has 2 tasks, and only from the third task on is there a prior model"),
        (3, "frozen", "has no strategy that learns later tasks, only frozen"),
    ],
)
def test_runs_with_nothing_to_estimate(tiny_config, tmp_path, capsys, tasks, strategy, message):
    folder = run(tiny_config(tmp_path, tasks=tasks, strategies=[strategy]), progress=False).folder
    fails(folder, message, capsys)
    if tasks < 3:
        with pytest.raises(UnfitRunError, match="diagnose a run of at least 3"):
            diagnose(folder, progress=False)


def test_ratios_to_a_teacher_without_error_are_undefined():
    errors = {"teacher itself": 0.0, "other": 0.5}
    rows = [
        EstimationRow("s", 3, 1, images, name, "", error, 1.0, 0.0, 8)
        for name, error in errors.items()
        for images in ("train", "test")
    ]
    found = Diagnosis("demo", 80, 0, tuple(rows)).to_dict()["summaries"]
    assert [summary["divergence_ratio"]["train"] for summary in found] == [None, None]


def test_torch_is_set_as_for_the_run(copy):
    file = copy / "config.yaml"
    changes = {"deterministic": True, "strategies": ["finetune"]}
    file.write_text(dump_yaml({**read_yaml(file), **changes}))
    try:
        diagnose(copy, progress=False)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_a_run_that_is_looked_at_is_not_touched(copy):
    config, leftover = copy / "config.yaml", copy / f"metrics.json.{host()}.999999.part"
    config.write_text(config.read_text() + "# a note\n")
    leftover.write_text("half")
    StoredRun(copy)
    assert config.read_text().endswith("# a note\n")
    assert leftover.exists()


def test_checkpoints_are_diagnosed_as_the_stages_of_a_run(
    tiny_config, draw_classes, tmp_path, monkeypatch, capsys
):
    """The third task's images, and weights alone: the numbers are those of the run."""
    for seed, side in enumerate(("train", "test")):
        draw_classes(tmp_path / "all" / side, "abcdefghijkl", seed=seed)
        for name in "ijkl":
            shutil.copytree(tmp_path / "all" / side / name, tmp_path / "new" / side / name)
    size = [{"Resize": {"size": [16, 16]}}]
    config = tiny_config(
        tmp_path,
        name="stages",
        dataset={"ImageFolder": {"root": str(tmp_path / "all")}},
        scenario={"ClassIncrementalScenario": {"classes_per_task": [4, 4, 4]}},
        models={
            "trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
        },
        transforms={"train": size, "eval": size},
        strategies=["finetune"],
    )
    folder = run(config, progress=False).folder
    monkeypatch.chdir(tmp_path)
    of_run = [row for row in diagnose(folder, progress=False).rows if row.observed_on == "new"]
    for task, place in enumerate(("task_1", "finetune/task_2"), 1):
        tensors = read_tensor_file(folder / place / "model.safetensors", "").tensors
        torch.save({"model_state_dict": tensors}, f"m{task}.pth")
    command = ["diagnose", "--weights", "m2.pth", "--prior", "m1.pth", "--data", "new"]
    described = [*command, "--config", str(folder / "config.yaml"), "--quiet"]
    assert main(described) == 0, capsys.readouterr().err
    rows = json.loads(Path("diagnosis/diagnosis.json").read_text())["rows"]
    rows = [row for row in rows if row["observed_on"] == "new"]
    expected = [asdict(row) for row in of_run if row.estimator != "AccuracyChangeEstimator"]
    assert len(rows) == len(expected) == 10
    for row, same in zip(rows, expected, strict=True):
        del row["age"]
        assert row.pop("strategy") == "m2"
        assert row == {key: pytest.approx(value) for key, value in same.items() if key in row}
    assert (tmp_path / "diagnosis/pictures/estimation_error.png").is_file()
    assert main(described) == 2
    assert "diagnosis exists; choose another name" in capsys.readouterr().err
    assert main([*described[:3], *described[5:], "--out", "other"]) == 2
    assert "name at least one with --prior" in capsys.readouterr().err
    assert main(["diagnose", str(folder), "--weights", "m2.pth"]) == 2
    assert "name a RUN alone, or --weights, --prior and --data" in capsys.readouterr().err
