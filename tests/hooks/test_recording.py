import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.hooks import InOrder, RecordAccuracies, RecordLosses
from pml_incremental.records.writers import RecordKeeperWriter
from pml_incremental.testers import IncrementalTester

CPU = torch.device("cpu")


def build(**hooks):
    torch.manual_seed(0)
    labels = torch.arange(32) % 4
    models = {"trunk": nn.Linear(6, 5), "embedder": nn.Linear(5, 3)}
    return MetricLossOnly(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr=0.1)
            for name, model in models.items()
        },
        batch_size=8,
        loss_funcs={"metric_loss": TripletMarginLoss(margin=0.3)},
        loss_weights={"metric_loss": 2},
        dataset=TensorDataset(torch.randn(32, 6) + labels[:, None], labels),
        dataloader_num_workers=0,
        data_device=CPU,
        **hooks,
    )


def test_losses_are_recorded_as_they_entered_the_total(tmp_path):
    writer = RecordKeeperWriter(tmp_path, "task_1")
    seen = []
    trainer = build()
    trainer.end_of_iteration_hook = InOrder(
        lambda t: seen.append(t.losses["total_loss"].item()), RecordLosses(writer, every=3)
    )
    trainer.train(num_epochs=2)
    rows = [tuple(row)[1:] for row in writer.keeper.query("SELECT * FROM losses")]
    assert [row[0] for row in rows] == [0, 3, 6]
    assert [row[2] for row in rows] == pytest.approx([seen[0], seen[3], seen[6]])
    assert all(metric == total for _, metric, total in rows)
    with pytest.raises(ValueError, match="at least 1"):
        RecordLosses(writer, every=0)


def test_accuracies_of_every_split_by_epoch(tmp_path):
    writer = RecordKeeperWriter(tmp_path, "task_1")
    hook = RecordAccuracies(writer)
    tester = IncrementalTester(dataloader_num_workers=0, data_device=CPU, end_of_testing_hook=hook)
    trainer = build()
    for epoch in (1, 2):
        found = tester.test({"task_1": trainer.dataset}, epoch, trainer.models["trunk"])
    query = "SELECT [~iteration~], joint_recall_at_1_level0 FROM test_task_1"
    rows = [tuple(row) for row in writer.keeper.query(query)]
    assert rows == [(epoch, found["task_1"]["joint_recall_at_1_level0"]) for epoch in (1, 2)]
