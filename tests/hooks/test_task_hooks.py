"""PML's presets over several tasks, with our trainer and tester and with PML's own."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.logging_presets import EmptyContainer
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.hooks import MEAN_JOINT, InOrder, MeanOverTasks, TaskHooks
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

CPU = torch.device("cpu")
TABLE = "accuracies_normalized_IncrementalTester_level_0_{}_vs_self"


def images(seed, labels=(0, 1, 2, 3), each=6):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor(labels).repeat(each)
    noise = torch.randn(len(targets), 8, generator=generator)
    return TensorDataset(noise + targets.view(-1, 1), targets)


VALIDATION = {"task_1": images(1), "task_2": images(2, labels=(4, 5, 6, 7))}


def models():
    torch.manual_seed(0)
    return {"trunk": nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.1)), "embedder": nn.Linear(8, 4)}


def new_tester(**options):
    return IncrementalTester(dataloader_num_workers=0, data_device=CPU, **options)


def build(hooks, trainer_class=IncrementalMetricLoss, tester=None, student=None, **epoch):
    student = models() if student is None else student
    tester = tester or new_tester()
    data = images(0)
    losses = {"metric_loss": TripletMarginLoss(margin=0.1)}
    ours = {}
    if trainer_class is IncrementalMetricLoss:
        losses["correlation_loss"] = CorrelationDistillationLoss()
        ours = {"teacher": Teacher.snapshot(student), "progress": False}
    optimizers = {
        f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=1e-2)
        for name, model in student.items()
    }
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizers["trunk_optimizer"], mode="max", patience=epoch.pop("plateau", 0)
    )
    return trainer_class(
        models=student,
        optimizers=optimizers,
        batch_size=8,
        loss_funcs=losses,
        dataset=data,
        sampler=MPerClassSampler(data.tensors[1], 2, 8, length_before_new_iter=24),
        lr_schedulers={"trunk_scheduler_by_plateau": plateau},
        dataloader_num_workers=0,
        data_device=CPU,
        end_of_iteration_hook=hooks.end_of_iteration_hook,
        end_of_epoch_hook=hooks.end_of_epoch_hook(tester, VALIDATION, **epoch),
        **ours,
    )


def train(trainer, start=1, epochs=3):
    if start == 1:
        torch.manual_seed(1)
        np.random.seed(1)
    trainer.train(start, epochs)
    return trainer


def rows(folder, table):
    with closing(sqlite3.connect(folder / "records" / "logs.db")) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def weights(trainer):
    return torch.cat([p.flatten() for m in trainer.models.values() for p in m.parameters()])


def test_records_hold_every_split_and_the_mean_over_tasks(tmp_path):
    train(build(TaskHooks(tmp_path, log_freq=1)))
    splits = ("TASK_1", "TASK_2", "MEAN", "MEAN_JOINT")
    one, two, mean, joint = (rows(tmp_path, TABLE.format(split)) for split in splits)
    assert [row["epoch"] for row in mean] == [1, 2, 3]
    for metric in ("recall_at_1_level0", "mean_average_precision_level0"):
        for a, b, m, j in zip(one, two, mean, joint, strict=True):
            assert m[metric] == pytest.approx((a[metric] + b[metric]) / 2)
            assert j[metric] == pytest.approx((a[f"joint_{metric}"] + b[f"joint_{metric}"]) / 2)
    assert (tmp_path / "records" / f"{TABLE.format('MEAN')}.csv").exists()
    assert list((tmp_path / "tensorboard").glob("events*"))
    losses = rows(tmp_path, "loss_histories")
    assert len(losses) == 9
    assert all(row["total_loss"] > 0 and row["correlation_loss"] is not None for row in losses)


@pytest.mark.parametrize("best_by", ["mean", MEAN_JOINT])
def test_best_models_are_those_of_the_best_mean(tmp_path, best_by):
    hooks = TaskHooks(tmp_path, "mean_average_precision", best_by)
    seen = {}
    trainer = build(hooks)
    evaluate = trainer.end_of_epoch_hook
    trainer.end_of_epoch_hook = lambda t: seen.update({t.epoch: weights(t)}) or evaluate(t)
    train(trainer, epochs=4)
    table = rows(tmp_path, TABLE.format(best_by.upper()))
    values = {row["epoch"]: row["mean_average_precision_level0"] for row in table}
    best = max(values, key=values.__getitem__)
    assert len(set(values.values())) > 1
    assert hooks.load_best(trainer) == best
    assert torch.equal(weights(trainer), seen[best])


def test_patience_ends_training_and_plateau_lowers_the_rate(tmp_path):
    trainer = build(TaskHooks(tmp_path), patience=1)
    # Without gradients nothing changes, and so nothing gets better.
    trainer.gradient_clippers = {name: model.zero_grad for name, model in trainer.models.items()}
    train(trainer, epochs=9)
    assert trainer.epoch == 3
    assert trainer.optimizers["trunk_optimizer"].param_groups[0]["lr"] == pytest.approx(1e-4)
    assert trainer.optimizers["embedder_optimizer"].param_groups[0]["lr"] == 1e-2


def test_resumed_training_equals_an_uninterrupted_one(tmp_path):
    whole = train(build(TaskHooks(tmp_path / "whole")), epochs=4)
    train(build(TaskHooks(tmp_path / "cut")), epochs=2)
    torch.manual_seed(99)
    np.random.seed(99)
    hooks = TaskHooks(tmp_path / "cut")
    resumed = build(hooks)
    start = hooks.resume(resumed)
    assert start == 3
    train(resumed, start, epochs=4)
    assert torch.equal(weights(whole), weights(resumed))
    for split in ("MEAN", "TASK_2"):
        table = TABLE.format(split)
        assert rows(tmp_path / "whole", table) == rows(tmp_path / "cut", table)


def test_recording_changes_no_weights(tmp_path):
    recorded = train(build(TaskHooks(tmp_path, log_freq=1), plateau=9))
    plain = build(TaskHooks(tmp_path / "unused"), plateau=9)
    plain.end_of_iteration_hook = plain.end_of_epoch_hook = lambda trainer: None
    assert torch.equal(weights(recorded), weights(train(plain)))


def test_pml_trainer_and_tester_under_the_same_hooks(tmp_path):
    calculator = AccuracyCalculator(include=("precision_at_1",), device=CPU)
    options = {"dataloader_num_workers": 0, "data_device": CPU, "accuracy_calculator": calculator}
    tester = GlobalEmbeddingSpaceTester(**options)
    hooks = TaskHooks(tmp_path, "precision_at_1")
    train(build(hooks, MetricLossOnly, tester), epochs=2)
    prefix = "accuracies_normalized_GlobalEmbeddingSpaceTester_level_0_"
    mean = rows(tmp_path, f"{prefix}MEAN_vs_self")
    parts = [rows(tmp_path, f"{prefix}{split}_vs_self") for split in ("TASK_1", "TASK_2")]
    for m, a, b in zip(mean, *parts, strict=True):
        key = "precision_at_1_level0"
        assert m[key] == pytest.approx((a[key] + b[key]) / 2)


def test_a_second_training_in_one_folder_is_refused(tmp_path):
    train(build(TaskHooks(tmp_path)), epochs=1)
    with pytest.raises(ValueError, match="folder of its own"):
        train(build(TaskHooks(tmp_path)), epochs=1)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"task-1": images(1)}, "letters, digits"),
        ({"x" * 40: images(1)}, "shorter"),
        ({"mean": images(1)}, "reserved for the mean"),
        # one image of each class, alone
        ({"task_1": images(1, (0, 1), each=1), "task_2": images(2)}, "undefined for task_1"),
    ],
)
def test_splits_that_cannot_be_recorded_are_named(tmp_path, splits, message):
    tester = new_tester(end_of_testing_hook=TaskHooks(tmp_path).end_of_testing_hook)
    with pytest.raises(ValueError, match=message):
        tester.test(splits, 1, nn.Identity())


def test_nothing_to_load_and_a_container_without_hooks(tmp_path):
    hooks = TaskHooks(tmp_path)
    trainer = build(hooks)
    assert hooks.resume(trainer) == 1
    with pytest.raises(FileNotFoundError, match="no best models"):
        hooks.load_best(trainer)
    with pytest.raises(ModuleNotFoundError, match="pip install record-keeper tensorboard"):
        MeanOverTasks(EmptyContainer())


def test_hooks_in_order_are_all_called_and_one_can_stop(tmp_path):
    called = []
    trainer = build(TaskHooks(tmp_path))
    evaluate = trainer.end_of_epoch_hook
    trainer.end_of_epoch_hook = InOrder(lambda t: False, evaluate, called.append)
    train(trainer, epochs=3)
    assert (trainer.epoch, len(called)) == (1, 1)
