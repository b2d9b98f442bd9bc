import pytest
import torch
import torchvision
from pytorch_metric_learning import losses, miners

from pml_incremental.config import CATEGORIES, PLURALS, ConfigError, available, resolve
from pml_incremental.datasets import CUB, ImageFolder
from pml_incremental.estimators import ESTIMATORS
from pml_incremental.strategies import STRATEGIES


@pytest.mark.parametrize(
    ("category", "name", "found"),
    [
        ("loss", "TripletMarginLoss", losses.TripletMarginLoss),  # torch.nn has one as well
        ("loss", "CrossEntropyLoss", torch.nn.CrossEntropyLoss),
        ("miner", "MultiSimilarityMiner", miners.MultiSimilarityMiner),
        ("dataset", "ImageFolder", ImageFolder),  # torchvision has one as well
        ("dataset", "CUB", CUB),  # and PML
        ("dataset", "FGVCAircraft", torchvision.datasets.FGVCAircraft),
        ("model", "resnet18", torchvision.models.resnet18),
        ("model", "Identity", torch.nn.Identity),
        ("sampler", "SequentialSampler", torch.utils.data.SequentialSampler),
        ("optimizer", "SGD", torch.optim.SGD),
        ("lr_scheduler", "StepLR", torch.optim.lr_scheduler.StepLR),
        ("transform", "ToTensor", torchvision.transforms.ToTensor),
        ("strategy", "finetune", STRATEGIES["finetune"]),
    ],
)
def test_resolve(category, name, found):
    assert resolve(category, name) is found
    assert name in available(category)


@pytest.mark.parametrize(
    ("category", "name", "message"),
    [
        (
            "loss",
            "TripletMargnLoss",
            "there is no loss 'TripletMargnLoss'; did you mean 'TripletMarginLoss'",
        ),
        ("loss", "tripletmarginloss", "did you mean 'TripletMarginLoss'"),
        ("lr_scheduler", "StepLr", "no lr scheduler 'StepLr'; did you mean 'StepLR'"),
        (
            "miner",
            "XXXX",
            "'pml-incremental list miners' shows all; your own is written my_module:XXXX",
        ),
        ("model", "get_model", "there is no model"),
        ("loss", "Linear", "there is no loss"),
        ("loss", "BaseMetricLossFunction", "there is no loss"),
        ("optimizer", "Optimizer", "there is no optimizer"),
        ("lr_scheduler", "ReduceLROnPlateau", "there is no lr scheduler"),
        ("trainer", "IncrementalMixin", "there is no trainer"),
        ("scenario", "Task", "there is no scenario"),
        ("loss", "no_such_package.x:A", "cannot import 'no_such_package.x': No module named"),
        ("loss", ":A", "is not module:Class"),
        (
            "loss",
            "collections:Ordereddict",
            r"has no class 'Ordereddict'; did you mean 'OrderedDict'\?",
        ),
    ],
)
def test_names_that_lead_nowhere(category, name, message):
    with pytest.raises(ConfigError, match=message):
        resolve(category, name)


def test_own_module(tmp_path, monkeypatch):
    (tmp_path / "registry_test_losses.py").write_text("class MyLoss: ...\nNOT_A_CLASS = 3")
    (tmp_path / "registry_test_broken.py").write_text("import no_such_package_at_all")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("loss", "registry_test_losses:MyLoss").__name__ == "MyLoss"
    with pytest.raises(ConfigError, match=r"has no class 'MyLos'; did you mean 'MyLoss'\?"):
        resolve("loss", "registry_test_losses:MyLos")
    with pytest.raises(ConfigError, match="has no class 'NOT_A_CLASS'"):
        resolve("loss", "registry_test_losses:NOT_A_CLASS")
    with pytest.raises(ConfigError, match="No module named 'no_such_package_at_all'"):
        resolve("loss", "registry_test_broken:MyLoss")


def test_unknown_category():
    with pytest.raises(ValueError, match="there is no category 'los'; did you mean 'loss'"):
        resolve("los", "A")


@pytest.mark.parametrize("category", CATEGORIES)
def test_everything_available_can_be_resolved_and_has_a_line(category):
    if category == "adapter":
        pytest.importorskip("peft", reason="needs the extra peft")
    found = available(category)
    assert found
    assert list(found) == sorted(found, key=str.lower)
    for name, (origin, line) in found.items():
        assert origin in ("pml-incremental", "PML", "torch", "torchvision", "peft")
        assert line
        assert len(line) <= 120
        assert "\n" not in line
        assert callable(resolve(category, name))


def test_lines_come_from_docstrings_or_else_arguments():
    assert available("loss")["CorrelationDistillationLoss"] == (
        "pml-incremental",
        "Match the student's similarity matrix on a batch to the teacher's.",
    )
    assert available("miner")["HDCMiner"][1].startswith("Arguments: filter_percentage, ")
    assert PLURALS["strategy"] == "strategies"


def test_estimators_are_those_that_strategies_and_galleries_take_by_name():
    assert set(available("estimator")) == set(ESTIMATORS)
