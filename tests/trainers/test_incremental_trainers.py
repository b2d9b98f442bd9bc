import copy

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils.inference import InferenceModel
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import GrowingClassifier, SmallConvNet
from pml_incremental.trainers import (
    IncrementalMetricLoss,
    IncrementalTrainWithClassifier,
    NonFiniteLossError,
    Teacher,
)

CPU = torch.device("cpu")
PAIRS = [
    (IncrementalMetricLoss, MetricLossOnly),
    (IncrementalTrainWithClassifier, TrainWithClassifier),
]


def dataset(seed=0, labels=range(8)):
    generator = torch.Generator().manual_seed(seed)
    targets = torch.tensor(list(labels)).repeat(6)
    images = torch.randn(len(targets), 1, 16, 16, generator=generator)
    return TensorDataset(images + targets.view(-1, 1, 1, 1), targets)


def student(classes=8):
    torch.manual_seed(1)
    return {
        "trunk": SmallConvNet(width=4),
        "embedder": nn.Linear(16, 8),
        "classifier": GrowingClassifier(8, classes),
    }


def build(trainer_class, models, data=None, **kwargs):
    data = data or dataset()
    with_classifier = issubclass(trainer_class, TrainWithClassifier)
    models = {k: v for k, v in models.items() if with_classifier or k != "classifier"}
    loss_funcs = {"metric_loss": TripletMarginLoss(margin=0.1)}
    if with_classifier:
        loss_funcs["classifier_loss"] = nn.CrossEntropyLoss()
    loss_funcs |= kwargs.pop("distillation", {})
    arguments = {
        "models": models,
        "optimizers": {
            f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=1e-3)
            for name, model in models.items()
        },
        "batch_size": 16,
        "loss_funcs": loss_funcs,
        "dataset": data,
        "mining_funcs": {"tuple_miner": MultiSimilarityMiner()},
        "sampler": MPerClassSampler(data.tensors[1], 4, 16, length_before_new_iter=48),
        "dataloader_num_workers": 0,
        "data_device": CPU,
    }
    return trainer_class(**(arguments | kwargs))


def train(trainer, epochs=3, seed=5):
    torch.manual_seed(seed)
    np.random.seed(seed)
    trainer.train(num_epochs=epochs)
    return trainer


def same_weights(first, second):
    return all(
        torch.equal(a, b)
        for name in first
        for a, b in zip(
            first[name].state_dict().values(), second[name].state_dict().values(), strict=True
        )
    )


@pytest.mark.parametrize(("ours", "pml"), PAIRS)
@pytest.mark.parametrize("with_losses", [True, False])
def test_without_teacher_equals_pml_to_the_bit(ours, pml, with_losses):
    distillation = {"correlation_loss": CorrelationDistillationLoss()} if with_losses else {}
    mine = train(build(ours, student(), distillation=distillation, progress=False))
    theirs = train(build(pml, student()))
    assert same_weights(mine.models, theirs.models)


@pytest.mark.parametrize(("ours", "pml"), PAIRS)
def test_teacher_changes_the_student_and_stays_the_same(ours, pml):
    teacher = Teacher.snapshot(student())
    before = copy.deepcopy(teacher.trunk.state_dict())
    distillation = {"correlation_loss": CorrelationDistillationLoss()}
    weights = {"metric_loss": 1, "classifier_loss": 1, "correlation_loss": 10}
    if ours is IncrementalMetricLoss:
        weights.pop("classifier_loss")
    mine = build(
        ours,
        student(),
        distillation=distillation,
        loss_weights=weights,
        teacher=teacher,
        progress=False,
    )
    theirs = train(build(pml, student()))
    train(mine)
    assert not same_weights(mine.models, theirs.models)
    for key, value in teacher.trunk.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not teacher.trunk.training
    assert all(p.grad is None for p in teacher.trunk.parameters())
    assert "teacher_trunk" not in mine.models


def test_total_loss_is_the_weighted_sum_of_the_formulas():
    teacher_models = student()
    torch.manual_seed(9)
    nn.init.normal_(teacher_models["embedder"].weight)
    teacher = Teacher.snapshot(teacher_models)
    trainer = build(
        IncrementalMetricLoss,
        student(),
        distillation={"correlation_loss": CorrelationDistillationLoss(temperature=2.0)},
        loss_weights={"metric_loss": 1, "correlation_loss": 10},
        teacher=teacher,
        mining_funcs=None,
        progress=False,
    )
    trainer.set_to_train()
    images, labels = dataset()[:16]
    trainer.calculate_loss((images, labels))
    trainer.loss_tracker.update(trainer.loss_weights)
    embeddings = trainer.compute_embeddings(images)
    metric = TripletMarginLoss(margin=0.1)(embeddings, labels)
    correlation = CorrelationDistillationLoss(temperature=2.0)(
        embeddings, ref_emb=teacher.embed(images)
    )
    assert correlation.item() > 1e-4
    torch.testing.assert_close(trainer.losses["correlation_loss"], 10 * correlation)
    torch.testing.assert_close(trainer.losses["total_loss"], metric + 10 * correlation)


def test_weight_zero_skips_a_distillation_loss():
    class Refuses(CorrelationDistillationLoss):
        def forward(self, *args, **kwargs):
            raise AssertionError("computed in vain")

    trainer = build(
        IncrementalMetricLoss,
        student(),
        distillation={"correlation_loss": Refuses()},
        loss_weights={"metric_loss": 1, "correlation_loss": 0},
        teacher=Teacher.snapshot(student()),
        progress=False,
    )
    train(trainer, epochs=1)


@pytest.mark.parametrize(
    ("freeze", "teacher", "frozen"),
    [
        ("with_teacher", False, False),
        ("with_teacher", True, True),
        (True, False, True),
        (False, True, False),
    ],
)
def test_batchnorm_freezes_when_asked(freeze, teacher, frozen):
    models = student()
    before = models["trunk"][0][1].running_mean.clone()
    trainer = build(
        IncrementalMetricLoss,
        models,
        teacher=Teacher.snapshot(models) if teacher else None,
        freeze_trunk_batchnorm=freeze,
        progress=False,
    )
    train(trainer, epochs=1)
    assert torch.equal(models["trunk"][0][1].running_mean, before) is frozen


def test_nan_names_loss_and_iteration_and_spares_the_weights():
    data = dataset()
    data.tensors[0][:] = float("nan")
    models = student()
    before = copy.deepcopy({k: v.state_dict() for k, v in models.items()})
    trainer = build(
        IncrementalMetricLoss,
        models,
        data,
        distillation={"correlation_loss": CorrelationDistillationLoss()},
        teacher=Teacher.snapshot(models),
        mining_funcs=None,
        freeze_trunk_batchnorm=True,
        progress=False,
    )
    message = "correlation_loss is not finite at epoch 1, iteration 1 of 3"
    with pytest.raises(NonFiniteLossError, match=message):
        train(trainer)
    for name, model in models.items():
        for key, value in model.state_dict().items():
            assert torch.equal(value, before[name][key]), key


def test_label_without_an_output_is_an_error():
    trainer = build(IncrementalTrainWithClassifier, student(classes=4), progress=False)
    with pytest.raises(ValueError, match=r"4 outputs .* the label [4-7]: call classifier.grow"):
        train(trainer)


def test_classifier_grows_over_two_tasks():
    models = student(classes=4)
    train(build(IncrementalTrainWithClassifier, models, dataset(0, range(4)), progress=False))
    old = models["classifier"].weight[:4].detach().clone()
    teacher = Teacher.snapshot(models)
    models["classifier"].grow(8)
    assert torch.equal(models["classifier"].weight[:4], old)
    trainer = build(
        IncrementalTrainWithClassifier,
        models,
        dataset(0, range(4, 8)),
        teacher=teacher,
        progress=False,
    )
    train(trainer)
    assert models["classifier"].weight.shape == (8, 8)


def test_subset_batch_miner_gives_the_distillation_losses_the_mined_batch():
    class FirstEight(nn.Module):
        def forward(self, embeddings, labels):
            return torch.arange(8)

    seen = []

    class Spy(CorrelationDistillationLoss):
        def compute_loss(self, embeddings, labels, indices_tuple=None, ref_emb=None, *rest):
            seen.append((len(embeddings), len(ref_emb)))
            return super().compute_loss(embeddings, labels, indices_tuple, ref_emb, *rest)

    trainer = build(
        IncrementalMetricLoss,
        student(),
        distillation={"correlation_loss": Spy()},
        mining_funcs={"subset_batch_miner": FirstEight()},
        teacher=Teacher.snapshot(student()),
        progress=False,
    )
    train(trainer, epochs=1)
    assert seen == [(8, 8)] * 3


def test_end_of_epoch_hook_can_stop():
    epochs = []
    trainer = build(
        IncrementalMetricLoss,
        student(),
        end_of_epoch_hook=lambda trainer: epochs.append(trainer.epoch) or trainer.epoch < 2,
        progress=False,
    )
    train(trainer, epochs=5)
    assert epochs == [1, 2]


def test_progress_bar_names_task_epoch_and_losses(capsys):
    trainer = build(IncrementalMetricLoss, student(), description="task 2/4", progress=True)
    train(trainer, epochs=2)
    shown = capsys.readouterr().err
    assert "task 2/4" in shown
    assert "6/6" in shown


def test_trained_models_work_in_pml_inference():
    trainer = train(build(IncrementalMetricLoss, student(), progress=False))
    model = InferenceModel(trainer.models["trunk"], trainer.models["embedder"], data_device=CPU)
    images, _ = dataset()[:4]
    assert model.get_embeddings(images).shape == (4, 8)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"metric_loss": 1, "correlation_los": 10}, "has no loss correlation_los: .* metric_loss"),
        ({"correlation_loss": 10}, "lacks the weight of metric_loss"),
    ],
)
def test_weights_that_are_not_those_of_the_losses_are_refused(weights, message):
    distillation = {"correlation_loss": CorrelationDistillationLoss()}
    with pytest.raises(ValueError, match=message):
        build(IncrementalMetricLoss, student(), distillation=distillation, loss_weights=weights)


def test_text_is_no_label():
    trainer = build(IncrementalMetricLoss, student())
    trainer.dataset = [(image, "wren") for image, _ in trainer.dataset]
    with pytest.raises(TypeError, match=r"labels must be whole numbers.*text such as 'wren'"):
        train(trainer)


@pytest.mark.parametrize(("weight", "with_teacher"), [(1.0, False), (0.0, False), (1.0, True)])
def test_a_distillation_loss_without_a_teacher_is_warned_of(recwarn, weight, with_teacher):
    models = student()
    trainer = build(
        IncrementalMetricLoss,
        models,
        distillation={"correlation_loss": CorrelationDistillationLoss()},
        loss_weights={"metric_loss": 1.0, "correlation_loss": weight},
        teacher=Teacher.snapshot(models) if with_teacher else None,
    )
    train(trainer, epochs=1)
    said = [str(warning.message) for warning in recwarn if "teacher" in str(warning.message)]
    assert len(said) == (weight == 1 and not with_teacher)
    assert all("correlation_loss compares with a teacher, and there is none" in s for s in said)


def test_models_are_no_teacher():
    models = student()
    with pytest.raises(TypeError, match=r"got dict: write teacher=Teacher\.snapshot\(models\)"):
        build(IncrementalMetricLoss, models, teacher=models)


def test_batch_larger_than_the_data_is_named():
    trainer = build(IncrementalMetricLoss, student(), batch_size=320, sampler=None)
    with pytest.raises(ValueError, match="batch_size is 320, of 48 images"):
        trainer.train()


@pytest.mark.parametrize(
    ("embedder", "optimizers", "warnings"),
    [
        (nn.Identity(), ["trunk"], []),
        (nn.Linear(12, 6), ["trunk", "embedder"], []),
        (nn.Linear(12, 6).requires_grad_(False), ["trunk"], []),
        (nn.Linear(12, 6), ["trunk"], ['optimizers is missing "embedder_optimizer"']),
    ],
)
def test_only_what_learns_is_missed_an_optimizer(embedder, optimizers, warnings, caplog):
    models = {"trunk": nn.Linear(16, 12), "embedder": embedder}
    IncrementalMetricLoss(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.SGD(models[name].parameters(), 0.1)
            for name in optimizers
        },
        batch_size=8,
        loss_funcs={"metric_loss": TripletMarginLoss()},
        dataset=dataset(),
        data_device=torch.device("cpu"),
        dataloader_num_workers=0,
    )
    said = [record.getMessage() for record in caplog.records]
    assert [message for message in said if "optimizers" in message] == warnings


def test_the_former_name_of_what_a_loss_compares_works_with_a_warning(build):
    with pytest.warns(FutureWarning, match="features is now called .*embeddings_and_trunk"):
        trainer = build(compares={"correlation_loss": "features"})
    assert trainer.compares == {"correlation_loss": "embeddings_and_trunk"}
    trainer.train()
