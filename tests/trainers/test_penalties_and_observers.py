import math

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.losses import LogitDistillationLoss
from pml_incremental.models import GrowingClassifier
from pml_incremental.trainers import (
    IncrementalMetricLoss,
    IncrementalTrainWithClassifier,
    NonFiniteLossError,
    Teacher,
)


def student(classes=4):
    torch.manual_seed(1)
    return {
        "trunk": nn.Sequential(nn.Flatten(), nn.Linear(16, 8)),
        "embedder": nn.Linear(8, 6),
        "classifier": GrowingClassifier(6, classes),
    }


def build(models, trainer_class=IncrementalMetricLoss, **kwargs):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 4
    images = torch.randn(16, 1, 4, 4, generator=generator)
    loss_funcs = {"metric_loss": TripletMarginLoss()}
    if trainer_class is IncrementalTrainWithClassifier:
        loss_funcs["classifier_loss"] = nn.CrossEntropyLoss()
    else:
        models.pop("classifier")
    loss_funcs |= kwargs.pop("distillation", {})
    weights = dict.fromkeys(loss_funcs, 1.0) | kwargs.pop("weights", {})
    return trainer_class(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.SGD(model.parameters(), lr=0.1)
            for name, model in models.items()
        },
        batch_size=8,
        loss_funcs=loss_funcs,
        loss_weights=weights,
        dataset=TensorDataset(images, labels),
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        progress=False,
        **kwargs,
    )


def norm_of_trunk(modules):
    return modules["trunk"][1].weight.square().sum()


def losses_of_a_batch(trainer):
    trainer.set_to_train()
    batch = trainer.dataset[:8]
    trainer.calculate_loss(batch)
    trainer.loss_tracker.update(trainer.loss_weights)
    return batch, trainer.losses


def test_penalty_is_a_named_weighted_part_of_the_total():
    models = student()
    trainer = build(models, penalties={"ewc_loss": norm_of_trunk}, weights={"ewc_loss": 3.0})
    _, losses = losses_of_a_batch(trainer)
    torch.testing.assert_close(losses["ewc_loss"], 3 * norm_of_trunk(models))
    torch.testing.assert_close(losses["total_loss"], losses["metric_loss"] + losses["ewc_loss"])


def test_penalty_of_weight_zero_is_not_computed():
    def refuse(modules):
        raise AssertionError("computed in vain")

    build(student(), penalties={"ewc_loss": refuse}, weights={"ewc_loss": 0}).train(num_epochs=1)


def test_penalty_that_is_not_finite_is_named():
    trainer = build(
        student(),
        penalties={"ewc_loss": lambda modules: norm_of_trunk(modules) * math.nan},
        weights={"ewc_loss": 1.0},
    )
    with pytest.raises(NonFiniteLossError, match="ewc_loss is not finite at epoch 1, iteration 1"):
        trainer.train(num_epochs=1)


def test_penalty_may_not_take_a_losss_name():
    with pytest.raises(ValueError, match="metric_loss is both a loss and a penalty"):
        build(student(), penalties={"metric_loss": norm_of_trunk})


def test_observers_see_gradients_before_clipping_and_parameters_after_the_step():
    models = student()
    weight = models["trunk"][1].weight
    seen = []

    class Observer:
        def before_step(self, modules):
            assert set(modules) == {"trunk", "embedder", "metric_loss"}
            seen.append((weight.detach().clone(), weight.grad.clone()))

        def after_step(self, modules, teacher):
            before, gradient = seen[-1]
            # The clipper halves the gradient after the observer has seen it.
            torch.testing.assert_close(weight.detach(), before - 0.05 * gradient)

    trainer = build(
        models,
        observers=[Observer()],
        gradient_clippers={"trunk_grad_clipper": lambda: weight.grad.mul_(0.5)},
    )
    trainer.train(num_epochs=1)
    assert len(seen) == trainer.iterations_per_epoch == 2
    assert seen[0][1].abs().sum() > 0


def test_logit_loss_compares_the_logits_of_student_and_teacher():
    models = student(classes=3)
    teacher = Teacher.snapshot(models)
    nn.init.normal_(teacher.classifier.weight)
    models["classifier"].grow(4)
    trainer = build(
        models,
        IncrementalTrainWithClassifier,
        distillation={"lwf_loss": LogitDistillationLoss()},
        compares={"lwf_loss": "logits"},
        teacher=teacher,
    )
    (images, _), losses = losses_of_a_batch(trainer)
    logits = models["classifier"](models["embedder"](models["trunk"](images)))
    expected = LogitDistillationLoss()(logits, ref_emb=teacher.classify(teacher.embed(images)))
    assert expected > 0.01
    torch.testing.assert_close(losses["lwf_loss"], expected)


def test_logit_loss_without_classifier_is_refused():
    with pytest.raises(ValueError, match="lwf_loss compares logits, but models has no classifier"):
        build(
            student(),
            distillation={"lwf_loss": LogitDistillationLoss()},
            compares={"lwf_loss": "logits"},
        )


def test_teacher_without_classifier_has_no_logits():
    with pytest.raises(ValueError, match="the teacher has no classifier"):
        Teacher(nn.Flatten()).classify(torch.zeros(2, 3))
