import pytest
import torch

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.regularizers import MAS
from pml_incremental.strategies import (
    STRATEGIES,
    Component,
    Distillation,
    ParameterPenalty,
    Strategy,
    register_strategy,
)


def test_every_strategy_builds_without_options_and_says_what_it_does():
    for name, factory in STRATEGIES.items():
        assert isinstance(factory(), Strategy), name
        assert factory.__doc__, name


def test_correlation_passes_its_options_on():
    (component,) = STRATEGIES["correlation"](weight=3, temperature=0.5).components
    weighted = component.losses(task=None)["correlation_loss"]
    assert weighted.weight == 3
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    expected = CorrelationDistillationLoss(0.5)(student, ref_emb=teacher)
    torch.testing.assert_close(weighted.loss(student, ref_emb=teacher), expected)


def test_negative_weight_is_refused():
    with pytest.raises(ValueError, match="weight of correlation_loss must be at least 0, got -1"):
        Distillation("correlation_loss", CorrelationDistillationLoss(), -1)
    with pytest.raises(ValueError, match="weight of estimation_loss must be at least 0, got -1"):
        STRATEGIES["fecd-oracle"](estimation_weight=-1)
    with pytest.raises(ValueError, match="weight of mas_loss must be at least 0, got -1"):
        ParameterPenalty("mas_loss", MAS(), -1)


def test_a_name_is_taken_once_and_is_no_sum():
    with pytest.raises(ValueError, match="'finetune' is registered already"):
        register_strategy("finetune")(lambda: Strategy())
    with pytest.raises(ValueError, match="'a\\+b' reads as a sum"):
        register_strategy("a+b")


def test_sum_has_the_components_and_images_of_both():
    total = STRATEGIES["correlation"]() + STRATEGIES["si"]() + STRATEGIES["joint"]()
    assert [c.name for c in total.components] == ["correlation_loss", "si_loss"]
    assert total.images_of(2) == "seen"
    assert not total.shares_first_task
    assert total.has_teacher
    assert STRATEGIES["finetune"]().has_teacher
    assert not STRATEGIES["joint"]().has_teacher


@pytest.mark.parametrize("name", ["frozen", "pretrained"])
def test_what_never_trains_stands_alone(name):
    with pytest.raises(ValueError, match="pretrained and frozen stand alone"):
        STRATEGIES[name]() + STRATEGIES["l2"]()
    with pytest.raises(ValueError, match="cannot have components"):
        Strategy(STRATEGIES["l2"]().components, later_images="none")


@pytest.mark.parametrize(
    ("former", "now"),
    [("begin_task", "before_task"), ("measure", "after_task"), ("end_task", "after_task")],
)
def test_methods_that_would_never_be_called_are_refused(former, now):
    with pytest.raises(TypeError, match=rf"Own\.{former} would never be called.* {now}\("):
        type("Own", (Component,), {former: lambda self: None})
