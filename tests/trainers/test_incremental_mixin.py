import copy
import math

import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.trainers import MetricLossOnly, TrainWithClassifier
from pytorch_metric_learning.utils.inference import InferenceModel
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.losses import (
    CorrelationDistillationLoss,
    EmbeddingDistillationLoss,
    LogitDistillationLoss,
)
from pml_incremental.models import GrowingClassifier, SmallConvNet, pooled_maps, watched_maps
from pml_incremental.trainers import NonFiniteLossError, Probes, Teacher

PLAIN = {"metric_loss": TripletMarginLoss()}
LWF = {"losses": {"lwf_loss": LogitDistillationLoss()}, "compares": {"lwf_loss": "logits"}}


def with_classifier(models, classes=4):
    return models | {"classifier": GrowingClassifier(6, classes)}


def losses_of_a_batch(trainer):
    trainer.set_to_train()
    batch = trainer.dataset[:8]
    trainer.calculate_loss(batch)
    trainer.loss_tracker.update(trainer.loss_weights)
    return batch, trainer.losses


def norm_of_trunk(modules):
    return modules["trunk"][1].weight.square().sum()


def refuse(*args, **kwargs):
    raise AssertionError("computed in vain")


@pytest.mark.parametrize("pml", [MetricLossOnly, TrainWithClassifier])
@pytest.mark.parametrize("losses", [{}, {"correlation_loss": CorrelationDistillationLoss()}])
def test_without_teacher_equals_pml_to_the_bit(build, train, models, weights_of, pml, losses):
    options = {"mining_funcs": {"tuple_miner": MultiSimilarityMiner()}}
    plain = dict(PLAIN)
    if pml is TrainWithClassifier:
        models = with_classifier(models)
        plain["classifier_loss"] = nn.CrossEntropyLoss()
    ours = build(copy.deepcopy(models), teacher=None, loss_funcs=plain | losses, **options)
    theirs = build(models, trainer_class=pml, loss_funcs=plain, **options)
    found = [weights_of(train(trainer, num_epochs=3)) for trainer in (ours, theirs)]
    assert torch.equal(*found)


@pytest.mark.parametrize("extend", [dict, with_classifier])
def test_teacher_changes_the_student_and_stays_the_same(build, train, models, weights_of, extend):
    models = extend(models)
    alone = train(build(copy.deepcopy(models), teacher=None))
    beside = build(models)
    teacher = beside.teacher
    before = copy.deepcopy(teacher.trunk.state_dict())
    assert not torch.equal(weights_of(train(beside)), weights_of(alone))
    for key, value in teacher.trunk.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert not teacher.trunk.training
    assert all(p.grad is None for p in teacher.trunk.parameters())
    assert "teacher_trunk" not in beside.models


def test_total_loss_is_the_weighted_sum_of_the_formulas(build):
    correlation = CorrelationDistillationLoss(temperature=2.0)
    trainer = build(
        losses={"correlation_loss": correlation},
        penalties={"ewc_loss": norm_of_trunk},
        loss_weights={"metric_loss": 1, "correlation_loss": 10, "ewc_loss": 3},
    )
    (images, labels), losses = losses_of_a_batch(trainer)
    embeddings = trainer.compute_embeddings(images)
    distilled = 10 * correlation(embeddings, ref_emb=trainer.teacher.embed(images))
    penalty = 3 * norm_of_trunk(trainer.models)
    assert distilled.item() > 1e-3
    torch.testing.assert_close(losses["correlation_loss"], distilled)
    torch.testing.assert_close(losses["ewc_loss"], penalty)
    total = TripletMarginLoss()(embeddings, labels) + distilled + penalty
    torch.testing.assert_close(losses["total_loss"], total)


def test_weight_zero_skips_a_distillation_loss_and_a_penalty(build):
    losses = CorrelationDistillationLoss()
    losses.forward = refuse
    weights = {"metric_loss": 1, "correlation_loss": 0, "ewc_loss": 0}
    options = {"penalties": {"ewc_loss": refuse}, "loss_weights": weights}
    build(losses={"correlation_loss": losses}, **options).train()


@pytest.mark.parametrize(
    ("freeze", "teacher", "frozen"),
    [
        ("with_teacher", False, False),
        ("with_teacher", True, True),
        (True, False, True),
        (False, True, False),
    ],
)
def test_batchnorm_freezes_when_asked(build, models, freeze, teacher, frozen):
    before = models["trunk"][2].running_mean.clone()
    given = Teacher.snapshot(models) if teacher else None
    build(models, teacher=given, freeze_trunk_batchnorm=freeze).train()
    assert torch.equal(models["trunk"][2].running_mean, before) is frozen


def test_penalty_that_is_not_finite_is_named(build):
    trainer = build(penalties={"ewc_loss": lambda modules: norm_of_trunk(modules) * math.nan})
    with pytest.raises(NonFiniteLossError, match="ewc_loss is not finite at epoch 1, iteration 1"):
        trainer.train()


def test_observers_see_gradients_before_clipping_and_parameters_after_the_step(build, models):
    weight = models["trunk"][1].weight
    seen = []

    class Observer:
        def before_step(self, modules):
            assert set(modules) == {"trunk", "embedder", "metric_loss", "correlation_loss"}
            seen.append((weight.detach().clone(), weight.grad.clone()))

        def after_step(self, modules, teacher):
            before, gradient = seen[-1]
            # The clipper halves the gradient after the observer has seen it.
            torch.testing.assert_close(weight.detach(), before - 0.05 * gradient)

    clippers = {"trunk_grad_clipper": lambda: weight.grad.mul_(0.5)}
    optimizers = {
        f"{name}_optimizer": torch.optim.SGD(model.parameters(), 0.1)
        for name, model in models.items()
    }
    options = {"observers": [Observer()], "gradient_clippers": clippers, "optimizers": optimizers}
    trainer = build(models, **options)
    trainer.train()
    assert len(seen) == trainer.iterations_per_epoch == 5
    assert seen[0][1].abs().sum() > 0


def test_logit_loss_compares_the_logits_of_student_and_teacher(build, models):
    models = with_classifier(models, classes=3)
    teacher = Teacher.snapshot(models)
    nn.init.normal_(teacher.classifier.weight)
    models["classifier"].grow(4)
    (images, _), losses = losses_of_a_batch(build(models, teacher=teacher, **LWF))
    logits = models["classifier"](models["embedder"](models["trunk"](images)))
    expected = LogitDistillationLoss()(logits, ref_emb=teacher.classify(teacher.embed(images)))
    assert expected > 0.01
    torch.testing.assert_close(losses["lwf_loss"], expected)


def test_label_without_an_output_is_an_error(build, models):
    trainer = build(with_classifier(models, classes=2))
    with pytest.raises(ValueError, match=r"2 outputs .* the label [23]: call classifier.grow"):
        trainer.train()


def test_subset_batch_miner_gives_the_distillation_losses_the_mined_batch(build):
    class FirstSix(nn.Module):
        def forward(self, embeddings, labels):
            return torch.arange(6)

    seen = []

    class Spy(CorrelationDistillationLoss):
        def compute_loss(self, embeddings, labels, indices_tuple=None, ref_emb=None, *rest):
            seen.append((len(embeddings), len(ref_emb)))
            return super().compute_loss(embeddings, labels, indices_tuple, ref_emb, *rest)

    miners = {"subset_batch_miner": FirstSix()}
    build(losses={"correlation_loss": Spy()}, mining_funcs=miners).train()
    assert seen == [(6, 6)] * 5


def test_end_of_epoch_hook_can_stop_and_the_bar_names_the_task(build, capsys):
    epochs = []
    trainer = build(description="task 2/4", progress=True)
    trainer.end_of_epoch_hook = lambda t: epochs.append(t.epoch) or t.epoch < 2
    trainer.train(num_epochs=5)
    assert epochs == [1, 2]
    shown = capsys.readouterr().err
    assert "task 2/4" in shown
    assert "10/25" in shown


def test_trained_models_work_in_pml_inference(build, images):
    trainer = build()
    trainer.train()
    models = trainer.models["trunk"], trainer.models["embedder"]
    model = InferenceModel(*models, data_device=torch.device("cpu"))
    assert model.get_embeddings(images[:4][0]).shape == (4, 6)


def test_models_are_no_teacher(build, models):
    with pytest.raises(TypeError, match=r"got dict: write teacher=Teacher\.snapshot\(models\)"):
        build(teacher=models)


def test_text_is_no_label(build, train):
    trainer = build()
    trainer.dataset = [(image, "wren") for image, _ in trainer.dataset]
    with pytest.raises(TypeError, match=r"labels must be whole numbers.*text such as 'wren'"):
        train(trainer)


@pytest.mark.parametrize(("weight", "with_teacher"), [(1.0, False), (0.0, False), (1.0, True)])
def test_a_distillation_loss_without_a_teacher_is_warned_of(
    build, train, recwarn, weight, with_teacher
):
    weights = {"metric_loss": 1.0, "correlation_loss": weight}
    train(build(loss_weights=weights, **({} if with_teacher else {"teacher": None})), num_epochs=1)
    said = [str(warning.message) for warning in recwarn if "teacher" in str(warning.message)]
    assert len(said) == (weight == 1 and not with_teacher)
    assert all("correlation_loss compares with a teacher, and there is none" in s for s in said)


def test_batch_larger_than_the_data_is_named(build):
    with pytest.raises(ValueError, match="batch_size is 320, of 40 images"):
        build(batch_size=320, sampler=None).train()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss_weights": {"metric_loss": 1, "correlation_los": 10}},
            "has no loss correlation_los: .* metric_loss",
        ),
        ({"loss_weights": {"correlation_loss": 10}}, "lacks the weight of metric_loss"),
        (
            {"penalties": {"metric_loss": norm_of_trunk}},
            "metric_loss is both a loss and a penalty",
        ),
        (LWF, "lwf_loss compares logits, but models has no classifier"),
        (
            {"probes": {"metric_loss": Probes()}},
            "probes are given for metric_loss, which is not a dist",
        ),
        ({"turned": -0.1}, "turned must be from 0 to 1"),
        ({"turned": 1.1}, "turned must be from 0 to 1"),
        (
            {"cache_teacher": True, "mining_funcs": {"subset_batch_miner": refuse}},
            "a subset_batch_miner takes images out of a batch",
        ),
    ],
)
def test_terms_that_do_not_fit_together_are_refused(build, options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize(
    ("embedder", "optimizers", "warnings"),
    [
        (nn.Identity(), ["trunk"], []),
        (nn.Linear(12, 6), ["trunk", "embedder"], []),
        (nn.Linear(12, 6).requires_grad_(False), ["trunk"], []),
        (nn.Linear(12, 6), ["trunk"], ['optimizers is missing "embedder_optimizer"']),
    ],
)
def test_only_what_learns_is_missed_an_optimizer(build, embedder, optimizers, warnings, caplog):
    models = {"trunk": nn.Linear(16, 12), "embedder": embedder}
    chosen = {
        f"{name}_optimizer": torch.optim.SGD(models[name].parameters()) for name in optimizers
    }
    build(models, teacher=None, optimizers=chosen)
    said = [record.getMessage() for record in caplog.records]
    assert [message for message in said if "optimizers" in message] == warnings


@pytest.fixture
def with_maps(build):
    """A trainer with a loss on feature maps."""

    def make(**options):
        torch.manual_seed(5)
        return build(
            models={"trunk": SmallConvNet(1, width=2), "embedder": nn.Linear(8, 6)},
            data=TensorDataset(torch.randn(40, 1, 16, 16), torch.arange(40) % 4),
            loss_funcs=PLAIN | {"map_loss": EmbeddingDistillationLoss("l2")},
            compares={"map_loss": "maps"},
            freeze_trunk_batchnorm=True,
            **options,
        )

    return make


def test_map_loss_is_the_distance_between_pooled_maps(with_maps, train):
    found = {}
    trainer = with_maps(iterations_per_epoch=1)
    trainer.end_of_iteration_hook = lambda t: found.update(t.losses)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # a teacher that is not its student
        for weight in trainer.models["trunk"].parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=generator))
    student = copy.deepcopy(trainer.models["trunk"]).eval()
    train(trainer)
    images = trainer.dataset.tensors[0][trainer.images]
    pooled = []
    for trunk in (student, trainer.teacher.trunk):
        with watched_maps(trunk) as maps:
            trunk(images)
        pooled.append(pooled_maps(maps))
    expected = (pooled[0] - pooled[1]).norm(dim=1).mean()
    assert expected > 0
    torch.testing.assert_close(found["map_loss"], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"turned": 0.5},
        {"probes": {"map_loss": Probes()}},
        {"probes": {"map_loss": Probes(pool=12)}},
    ],
)
def test_maps_of_copies_and_probes_are_compared(with_maps, train, weights_of, options):
    plain, other = (weights_of(train(with_maps(**given))) for given in ({}, options))
    assert not torch.equal(plain, other)


def test_maps_of_a_cached_teacher_are_the_same(with_maps, train, weights_of):
    cached, asked = (weights_of(train(with_maps(cache_teacher=cache))) for cache in (True, False))
    torch.testing.assert_close(cached, asked)


def test_a_trunk_without_maps_learns_where_their_loss_has_no_weight(build):
    losses = PLAIN | {"map_loss": EmbeddingDistillationLoss("l2")}
    options = {"loss_funcs": losses, "compares": {"map_loss": "maps"}}
    build(**options, loss_weights={"metric_loss": 1, "map_loss": 0}).train()
    with pytest.raises(ValueError, match=r"makes no feature maps.*map_weight: 0"):
        build(**options, loss_weights={"metric_loss": 1, "map_loss": 1}).train()


def test_the_former_name_of_what_a_loss_compares_works_with_a_warning(build):
    with pytest.warns(FutureWarning, match="features is now called .*embeddings_and_trunk"):
        trainer = build(compares={"correlation_loss": "features"})
    assert trainer.compares == {"correlation_loss": "embeddings_and_trunk"}
    trainer.train()
