import sys

import pytest

from pml_incremental.config import ConfigError, ExperimentConfig, load_config, validate
from pml_incremental.config.import_checks import find_import_problems

TRAP = "import_trap_module"
PLACES = [
    "sampler={%s:Sampler: {}}",
    "models.trunk={%s:Model: {}}",
    "loss_funcs.metric_loss.TripletMarginLoss.distance={%s:Distance: {}}",
    "transforms.eval=[{%s:Transform: {}}]",
    "strategies=[%s:strategy]",
    "strategies=[correlation+%s:strategy]",
    "strategies=[{fecd: {estimator: %s:Estimator}}]",
    "strategies=[{fecd: {estimator: {%s:Estimator: {rank: 2}}}}]",
    "strategies=[{correlation+fecd: {fecd: {estimator: %s:Estimator}}}]",
    "strategies=[{correlation: {probes: %s:probe}}]",
    "strategies=[{cosine: {probes: [warp, [{%s:probe: {times: 2}}, mixup]]}}]",
    "strategies=[{correlation+merge: {correlation: {probes: {images: [%s:probe], share: 1}}}}]",
]


@pytest.fixture
def trap(tmp_path, monkeypatch):
    """A module that leaves a trace when it is imported."""
    (tmp_path / f"{TRAP}.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return TRAP


@pytest.mark.parametrize("place", PLACES)
def test_nothing_is_imported_that_the_config_does_not_allow(example, trap, place):
    with pytest.raises(ConfigError, match=rf"imports {trap}.*allow_imports: \[{trap}\]"):
        load_config([example], [place % trap])
    assert trap not in sys.modules


def test_other_mistakes_do_not_get_it_imported(example, trap):
    with pytest.raises(ConfigError, match=f"imports {trap}"):
        load_config([example], [f"sampler={{{trap}:Sampler: {{}}}}", "num_epochs=0", "sed=1"])
    with pytest.raises(ConfigError, match=r"allow_imports"):
        load_config([example], [f"sampler={{{trap}:Sampler: {{}}}}", "allow_imports=[1]"])


def test_configs_and_strategies_from_elsewhere_are_checked_too(example, trap):
    config = load_config([example])
    plain = {**config.to_yaml_dict(), "sampler": {f"{trap}:Sampler": {}}}
    with pytest.raises(ValueError, match=f"imports {trap}"):
        ExperimentConfig.model_validate(plain)
    strange = type(config.sampler)(class_name=f"{trap}:Sampler")
    with pytest.raises(ConfigError, match=f"imports {trap}"):
        validate(config.model_copy(update={"sampler": strange}))


@pytest.mark.parametrize("allowed", ["my_pkg", "my_pkg.losses"])
def test_a_package_covers_its_modules(allowed):
    config = {"sampler": {"my_pkg.losses:Mine": {}}}
    assert list(find_import_problems({**config, "allow_imports": [allowed]})) == []
    for other in ("my_pkg.loss", "my", "my_pkg.losses.inner", "my_pkg_losses"):
        assert len(list(find_import_problems({**config, "allow_imports": [other]}))) == 1


@pytest.mark.parametrize(
    ("section", "name", "may"),
    [
        ("optimizers", "torch.optim:Adam", True),
        ("models", "torchvision.models:resnet18", True),
        ("models", "pml_incremental.models:SmallConvNet", True),
        ("loss_funcs", "pytorch_metric_learning.losses:ContrastiveLoss", True),
        # These load code or pickles when they are called.
        ("models", "torch.hub:load", False),
        ("models", "torch:load", False),
        ("models", "torch.package:PackageImporter", False),
        ("loss_funcs", "torch.utils.cpp_extension:load", False),
    ],
)
def test_trusted_packages_offer_only_what_fits(section, name, may):
    found = list(find_import_problems({section: {"key": {name: {}}}}))
    assert not found if may else len(found) == 1


@pytest.mark.parametrize("name", ["correlation: {weight: 40}", "a b:c"])
def test_options_in_quotes_are_no_import(example, name):
    with pytest.raises(ConfigError, match="is no name of a class") as caught:
        load_config([example], [f"strategies=['{name}']"])
    assert "write options apart, {ClassName: {argument: value}}" in str(caught.value)
