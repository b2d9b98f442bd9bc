"""Our classes as powerful-benchmarker builds them, on the PML that it has."""

import importlib.util

import numpy as np
import pytest
import torch

if importlib.util.find_spec("easy_module_attribute_getter") is None:
    pytest.skip("needs powerful-benchmarker: tox run -e pb-stock", allow_module_level=True)

from easy_module_attribute_getter.utils import load_yaml
from powerful_benchmarker.factories import LossFactory

from pml_incremental.benchmarker.config_files import LOSSES, OURS, find_config
from pml_incremental.benchmarker.runner import IncrementalRunner
from pml_incremental.functional import correlation_distillation

THEIRS = "bninception", "ContrastiveLoss", "GlobalEmbeddingSpaceTester"


@pytest.fixture(scope="module")
def runner():
    return IncrementalRunner()


@pytest.fixture(scope="module")
def build_losses(runner):
    factory = LossFactory(getter=runner.pytorch_getter)
    return lambda specs: factory.create(named_specs=specs, kwargs={"num_classes": 4})


@pytest.mark.parametrize("path", sorted(LOSSES.glob("*.yaml")), ids=lambda path: path.stem)
def test_loss_files(build_losses, path):
    losses = build_losses(load_yaml(path)["loss_funcs"])
    student, teacher = torch.randn(8, 6, requires_grad=True), torch.randn(8, 6)
    for name, loss in losses.items():
        value = loss(student, torch.arange(8), ref_emb=teacher)
        assert torch.isfinite(value)
        # Without estimators of prior models, estimation has nothing to say.
        assert (value > 0) == (name != "estimation_loss")
        value.backward()


def test_a_loss_is_its_formula_and_needs_a_teacher(build_losses):
    (loss,) = build_losses({"any": {"CorrelationDistillationLoss": {"temperature": 2.0}}}).values()
    unit = torch.nn.functional.normalize
    student, teacher = unit(torch.randn(8, 6)), unit(torch.randn(8, 5))
    expected = correlation_distillation(student, teacher, temperature=2.0).mean()
    torch.testing.assert_close(loss(student, torch.arange(8), ref_emb=teacher), expected)
    with pytest.raises(ValueError, match="needs the teacher's embeddings"):
        loss(student, torch.arange(8))


def test_their_classes_are_still_found(runner):
    for kind, name in zip(("model", "loss", "tester"), THEIRS, strict=True):
        found, _ = runner.pytorch_getter.get(kind, yaml_dict={name: {}}, return_uninitialized=True)
        assert found.__name__ == name


def test_recall_is_a_hit_among_the_nearest(runner):
    calculator = runner.pytorch_getter.get(
        "accuracy_calculator", yaml_dict={"RecallCalculator": {"ks": [1, 2]}}
    )
    points = np.array([[0.0], [1.0], [1.5], [9.0]], dtype=np.float32)
    labels = np.array([0, 0, 1, 1])
    if "reference" in calculator.get_accuracy.__code__.co_varnames[1:3]:  # PML 0.9.92
        found = calculator.get_accuracy(points, points, labels, labels, True)
    else:
        found = calculator.get_accuracy(torch.from_numpy(points), torch.from_numpy(labels))
    assert (found["recall_at_1"], found["recall_at_2"]) == (0.5, 0.75)


@pytest.mark.parametrize("path", sorted(OURS.glob("*/*.yaml")), ids=lambda path: path.stem)
def test_config_files_are_found_beside_theirs(runner, path):
    category = path.parent.name
    assert find_config(category, path.stem, runner.config_folders) == path
    default = find_config(category, "default", runner.config_folders).resolve()
    assert default.parts[-4:-1] == ("powerful_benchmarker", "configs", category)
