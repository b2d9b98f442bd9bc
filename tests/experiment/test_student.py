import pytest
import torch
from torch import nn

from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.experiment.running.learn import trained_model
from pml_incremental.experiment.student import Student, recipe_of


@pytest.fixture
def trained(tiny_config, with_classifier, tmp_path):
    def make(**options):
        trainer = {"IncrementalTrainWithClassifier": {"batch_size": 16, **options}}
        changes = {**with_classifier, "trainer": trainer, "loss_weights": {"classifier_loss": 3}}
        config = tiny_config(tmp_path, 1, **changes)
        torch.manual_seed(0)
        (task,) = build_scenario(config)
        student = Student(config, task, torch.device("cpu"))
        return student, trained_model(config, student, task.train)

    return make


def test_the_task_loss_is_what_a_trainer_without_a_strategy_minimises(trained):
    student, model = trained()
    images, labels = batch = next(iter(model.batches()))
    embeddings = student.models["embedder"](student.models["trunk"](images))
    logits = student.models["classifier"](embeddings)
    by_hand = student.losses["metric_loss"](embeddings, labels)
    by_hand = by_hand + 3 * nn.functional.cross_entropy(logits, labels)
    torch.testing.assert_close(model.loss(batch), by_hand)
    torch.testing.assert_close(model.embed(batch), embeddings)


def test_it_is_measured_in_the_precision_it_was_trained_in(trained):
    student, model = trained(precision="bf16")
    batch = next(iter(model.batches()))
    full = student.models["embedder"](student.models["trunk"](batch[0]))
    with torch.autocast("cpu", torch.bfloat16):
        half = student.models["embedder"](student.models["trunk"](batch[0])).float()
    found = model.embed(batch)
    assert found.dtype == torch.float32
    assert not torch.equal(found, full)
    torch.testing.assert_close(found, half, rtol=0.02, atol=0.02)
    model.loss(batch).backward()
    assert all(p.grad is not None for p in student.models["trunk"].parameters())


TIMM = "pml_incremental.models:timm_trunk"
# With weights torchvision rescales its input, and drops its auxiliary heads.
RESCALING = {"weights": None, "transform_input": True, "aux_logits": False}


@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        ({"resnet18": {"weights": "IMAGENET1K_V1"}}, {"resnet18": {"weights": None}}),
        (
            {TIMM: {"name": "resnet10t", "pretrained": True}},
            {TIMM: {"name": "resnet10t", "pretrained": False}},
        ),
        ({"googlenet": {"weights": "IMAGENET1K_V1"}}, {"googlenet": RESCALING}),
        ({"SmallConvNet": {"width": 4}}, {"SmallConvNet": {"width": 4}}),
    ],
)
def test_a_model_built_from_weights_loads_no_others(tiny_config, tmp_path, trunk, expected):
    config = tiny_config(tmp_path, models={"trunk": trunk})
    assert recipe_of(config)["models"]["trunk"] == expected
    trunk = {"collections:OrderedDict": {"pretrained": True}}  # arguments of others are theirs
    config = tiny_config(tmp_path, allow_imports=["collections"], models={"trunk": trunk})
    assert recipe_of(config)["models"]["trunk"] == trunk
