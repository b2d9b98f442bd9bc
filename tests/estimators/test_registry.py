import pytest
import torch

from pml_incremental import estimators
from pml_incremental.estimators import (
    ESTIMATORS,
    DriftEstimator,
    EstimatorBank,
    FeatureEstimator,
    LinearEstimator,
    build_estimator,
    register_estimator,
)


@pytest.fixture(autouse=True)
def registry_as_before():
    before = dict(ESTIMATORS)
    yield
    ESTIMATORS.clear()
    ESTIMATORS.update(before)


def test_every_estimator_of_the_package_is_registered_by_its_name():
    exported = {
        name: member
        for name, member in vars(estimators).items()
        if isinstance(member, type) and issubclass(member, FeatureEstimator)
    }
    del exported["FeatureEstimator"]
    assert exported == ESTIMATORS


@pytest.mark.parametrize(
    ("spec", "cls", "hyperparameters"),
    [
        ({"LinearEstimator": {"rank": 4}}, LinearEstimator, {"ridge": 0.1, "rank": 4}),
        (
            {"pml_incremental.estimators.linear:LinearEstimator": {"ridge": 0.5}},
            LinearEstimator,
            {"ridge": 0.5, "rank": None},
        ),
        (LinearEstimator(ridge=0.5), LinearEstimator, {"ridge": 0.5, "rank": None}),
        ("DriftEstimator", DriftEstimator, {"scale": 1.0}),
        ({"DriftEstimator": None}, DriftEstimator, {"scale": 1.0}),
    ],
)
def test_forms_of_a_description(spec, cls, hyperparameters):
    built = build_estimator(spec)
    assert type(built) is cls
    assert built.hyperparameters == hyperparameters


def test_registered_classes_serve_in_a_bank(tmp_path):
    @register_estimator("Opposite")
    class Opposite(FeatureEstimator):
        def accumulate(self, prior, current):
            self.count = torch.ones(len(prior))

        def solve(self):
            return {"count": self.count}

        def predict(self, features, state, generator):
            return -features.repeat(len(state["count"]), 1, 1)

    bank = EstimatorBank("Opposite")
    features = torch.randn(5, 3)
    bank.update([(features, features)])
    bank.update([(features, features)])
    assert torch.equal(bank.estimate(features), -features.repeat(2, 1, 1))
    bank.save(tmp_path / "bank.safetensors")
    another = EstimatorBank("Opposite")
    another.load(tmp_path / "bank.safetensors")
    assert torch.equal(another.estimate(features), bank.estimate(features))


def test_a_name_has_one_class():
    register_estimator("DriftEstimator")(DriftEstimator)
    with pytest.raises(ValueError, match=r"'DriftEstimator' belongs to .*drift:DriftEstimator"):
        register_estimator("DriftEstimator")(LinearEstimator)
    with pytest.raises(TypeError, match="must be a subclass of FeatureEstimator"):
        register_estimator("Sequence")(list)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("LinearEstimater", ValueError, "no estimator 'LinearEstimater'; did you mean 'LinearE"),
        ("Nothing", ValueError, "known: AccuracyChangeEstimator, .* own is written module:Class"),
        ("no_such_module:Thing", ValueError, "cannot find the estimator .* No module named"),
        ("pml_incremental.estimators:Thing", ValueError, "cannot find .* has no attribute 'Thing'"),
        ("collections:OrderedDict", TypeError, "must be a subclass of FeatureEstimator"),
        ({"DriftEstimator": {}, "LinearEstimator": {}}, TypeError, "a name or {name: {arguments}}"),
        ({"DriftEstimator": {"scales": 1}}, TypeError, "unexpected keyword argument 'scales'"),
        (3, TypeError, "a name or {name: {arguments}}, got 3"),
    ],
)
def test_bad_descriptions(spec, error, message):
    with pytest.raises(error, match=message):
        build_estimator(spec)
