import pytest
import torch

from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.strategies import STRATEGIES, Distillation, Strategy, register_strategy


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


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="'finetune' is registered already"):
        register_strategy("finetune")(lambda: Strategy())
