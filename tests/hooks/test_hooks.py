import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.estimators import EstimatorBank
from pml_incremental.hooks import InOrder, RecordAccuracies, RecordLosses, end_of_task
from pml_incremental.records.writers import RecordKeeperWriter
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import Teacher

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
    trainer = build(
        end_of_iteration_hook=InOrder(
            lambda t: seen.append(t.losses["total_loss"].item()), RecordLosses(writer, every=3)
        )
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
    tester = IncrementalTester(
        dataloader_num_workers=0, data_device=CPU, end_of_testing_hook=RecordAccuracies(writer)
    )
    trainer = build()
    for epoch in (1, 2):
        found = tester.test({"task_1": trainer.dataset}, epoch, trainer.models["trunk"])
    query = "SELECT [~iteration~], joint_recall_at_1_level0 FROM test_task_1"
    rows = [tuple(row) for row in writer.keeper.query(query)]
    assert rows == [(epoch, found["task_1"]["joint_recall_at_1_level0"]) for epoch in (1, 2)]


@pytest.mark.parametrize("sees_trunk", [False, True])
def test_end_of_task_teaches_the_bank_what_the_leaving_model_saw(sees_trunk):
    trainer = build()
    images = trainer.dataset.tensors[0]
    bank = EstimatorBank("LinearEstimator", embedding_width=3 if sees_trunk else None)
    first = end_of_task(trainer, bank=bank)
    assert len(bank) == 0  # there was no teacher that could leave
    before = first.embed(images)
    trainer.train(num_epochs=1)
    second = end_of_task(trainer, first, bank, passes=2)
    assert len(bank) == 1
    assert torch.equal(first.embed(images), before)
    embeddings, features = second.embed_with_features(images)
    assert not torch.equal(embeddings, before)
    seen = torch.cat([embeddings, features], dim=1) if sees_trunk else embeddings
    error = (bank.estimate(seen)[0] - before).norm() / (embeddings - before).norm()
    assert error < 0.3  # of how far the model moved
    with pytest.raises(ValueError, match="passes"):
        end_of_task(trainer, first, bank, passes=0)


def test_end_of_task_takes_the_trainers_own_teacher_and_draws_nothing():
    trainer = build()
    trainer.teacher = Teacher.snapshot(trainer.models)
    bank, state = EstimatorBank("DriftEstimator"), (torch.get_rng_state(), np.random.get_state())
    end_of_task(trainer, bank=bank)
    assert len(bank) == 1
    assert (np.random.get_state()[1] == state[1][1]).all()
