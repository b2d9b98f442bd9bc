"""Experiments of powerful-benchmarker; run by ``tox run -e pb-stock,pb-pml2``."""

import csv
import importlib.util
import math
import os
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from pml_incremental.estimators import EstimatorBank
from pml_incremental.metrics import TaskMatrix

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("easy_module_attribute_getter") is None,
        reason="needs powerful-benchmarker: tox run -e pb-stock,pb-pml2",
    ),
]
ROOT = Path(__file__).parents[2]
TASKS = ["task_1", "task_2", "task_3", "task_4"]
CLASSES = 12
# As in a shell: powerful-benchmarker puts the pieces of lists and mappings together itself.
SMALL = f"""
    --config_dataset [default, glyphs] --config_models [default, glyphs]
    --config_optimizers [default, glyphs] --config_transforms [default, glyphs]
    --dataset~APPLY~2 {{scripts: [armenian, georgian, greek, math],
                        max_classes_per_script: {CLASSES}}}
    --trainer~APPLY~2 {{batch_size: 24, iterations_per_epoch: 6}}
    --num_epochs_train 2 --check_untrained_accuracy False
"""
FECD = """
    --config_general [default, fecd, glyphs] --config_loss_and_miners [default, fecd]
    --config_eval [default, incremental]
"""
CLASSIFIER = """
    --config_general [default, fecd, glyphs, with_growing_classifier]
    --config_loss_and_miners [default, lwf, rkd]
    --loss_funcs {classifier_loss: {CrossEntropyLoss: {}}}
    --models {classifier: {MLP: {layer_sizes: []}}}
    --optimizers {classifier_optimizer: {Adam: {lr: 0.01}}}
"""


def benchmark(folder, name, options):
    command = [sys.executable, str(ROOT / "runners" / "powerful_benchmarker.py")]
    places = ["--experiment_name", name, "--root_experiment_folder", str(folder)]
    done = subprocess.run(
        [*command, *places, *options.split()],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / name


@pytest.fixture(scope="module")
def fecd(tmp_path_factory):
    return benchmark(tmp_path_factory.mktemp("experiments"), "small", SMALL + FECD)


@pytest.fixture(scope="module")
def with_classifier(tmp_path_factory):
    return benchmark(tmp_path_factory.mktemp("experiments"), "classifier", SMALL + CLASSIFIER)


def rows(experiment, task, table):
    (path,) = (experiment / task / "saved_csvs").glob(f"{table}.csv")
    with path.open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def column(experiment, task, table, name):
    return [row[name] for row in rows(experiment, task, table)]


def best_epoch(experiment, task):
    paths = (experiment / task / "saved_models").glob("trunk_best*.pth")
    return max(int(path.stem.removeprefix("trunk_best")) for path in paths)


def weights(experiment, task, model, epoch):
    return torch.load(experiment / task / "saved_models" / f"{model}_best{epoch}.pth")


def matrix(experiment, name):
    return TaskMatrix.from_csv(experiment / "meta_logs" / "saved_csvs" / f"task_matrix_{name}.csv")


def test_the_first_task_is_learned_without_a_teacher(fecd):
    for name in ("correlation_loss", "estimation_loss"):
        assert set(column(fecd, "task_1", "loss_histories", name)) == {0}


@pytest.mark.parametrize(("before", "task"), list(pairwise(TASKS)))
def test_each_task_starts_from_the_best_model_of_the_one_before(fecd, before, task):
    for model in ("trunk", "embedder"):
        learned = weights(fecd, before, model, best_epoch(fecd, before))
        start = weights(fecd, task, model, 0)  # saved before the first step
        assert all(torch.equal(start[key], learned[key]) for key in learned)


@pytest.mark.parametrize("task", TASKS[1:])
def test_the_teacher_is_the_model_that_the_task_starts_from(fecd, task):
    first, *_, last = column(fecd, task, "loss_histories", "correlation_loss")
    assert first == pytest.approx(0, abs=1e-4)
    assert last > 1e-3
    assert set(column(fecd, task, "loss_weights", "correlation_loss")) == {10}


def test_estimates_of_prior_models_are_distilled_from_the_third_task_on(fecd):
    assert set(column(fecd, "task_2", "loss_histories", "estimation_loss")) == {0}
    for task in TASKS[2:]:
        first, *_ = column(fecd, task, "loss_histories", "estimation_loss")
        assert first > 1e-4  # where the teacher's own similarities are matched still


def test_the_bank_is_kept_beside_the_models(fecd):
    files = sorted(fecd.rglob("estimation_loss_bank.safetensors"))
    assert [path.parent.parent.name for path in files] == TASKS[2:]
    features = torch.randn(5, 64 + 96)  # embeddings, and the trunk's output behind them
    for number, file in enumerate(files, 1):
        bank = EstimatorBank("LinearEstimator", embedding_width=64)
        bank.load(file, width=64, prior_models=number)
        assert bank.estimate(features).shape == (number, 5, 64)


@pytest.mark.parametrize("gallery", ["", "joint_"])
def test_the_task_matrix_is_that_of_the_records(fecd, gallery):
    found = matrix(fecd, f"{gallery}recall_at_1_level0").values
    for i, task in enumerate(TASKS):
        for j, split in enumerate(TASKS):
            if j > i:
                assert math.isnan(found[i + 1][j])
                continue
            records = rows(fecd, task, f"accuracies_*_{split.upper()}")
            (row,) = [row for row in records if row["epoch"] == best_epoch(fecd, task)]
            assert found[i + 1][j] == pytest.approx(row[f"{gallery}recall_at_1_level0"])
    assert 0 < found[1][0] <= 1


def test_a_joint_gallery_is_never_easier(fecd):
    own, joint = (matrix(fecd, f"{kind}recall_at_1_level0").values for kind in ("", "joint_"))
    assert own[1][0] == joint[1][0]
    assert (joint <= own + 1e-9)[~(own != own)].all()


def test_a_killed_experiment_goes_on_where_it_was(fecd, tmp_path):
    shutil.copytree(fecd, tmp_path / "small")
    shutil.rmtree(tmp_path / "small" / "task_4")
    again = benchmark(tmp_path, "small", "--resume_training latest")
    for name in ("recall_at_1_level0", "joint_recall_at_1_level0"):
        assert matrix(again, name) == matrix(fecd, name)
    assert rows(again, "task_4", "loss_histories") == rows(fecd, "task_4", "loss_histories")


def test_a_classifier_keeps_its_rows_and_gains_new_ones(with_classifier):
    sizes = []
    for before, task in pairwise(TASKS):
        best = best_epoch(with_classifier, before)
        learned = weights(with_classifier, before, "classifier", best)
        start = weights(with_classifier, task, "classifier", 0)
        for name, old in learned.items():
            assert torch.equal(start[name][: len(old)], old)
            sizes.append((len(old), len(start[name])))
    assert set(sizes) == {(n * CLASSES, (n + 1) * CLASSES) for n in (1, 2, 3)}


def test_logits_and_relations_are_distilled_beside_a_classifier(with_classifier):
    for name in ("lwf_loss", "relational_loss"):
        assert set(column(with_classifier, "task_1", "loss_histories", name)) == {0}
        assert column(with_classifier, "task_2", "loss_histories", name)[-1] > 0


def test_powerful_benchmarkers_own_tester_and_metrics_do_too(with_classifier):
    found = matrix(with_classifier, "mean_average_precision_at_r_level0").values
    assert 0 < found[1][0] <= 1
