import pytest

from pml_incremental.config import ConfigError, ObjectSpec, load_config, validate

CONFIG = """
dataset: {Glyphs: {scripts: [armenian]}}
scenario: {ClassIncrementalScenario: {classes_per_task: [2, 2]}}
models: {trunk: SmallConvNet}
loss_funcs: {metric_loss: TripletMarginLoss}
optimizers: {trunk_optimizer: Adam}
trainer: IncrementalMetricLoss
num_epochs: 1
strategies: [correlation+ewc]
"""


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "sum.yaml"
    path.write_text(CONFIG)

    def find(*overrides):
        with pytest.raises(ConfigError) as error:
            validate(load_config([path], overrides))
        return str(error.value)

    return find


def test_sum_builds_with_the_options_of_its_parts():
    spec = ObjectSpec.parse({"correlation+ewc": {"correlation": {"weight": 5}}})
    first, second = spec.build("strategy").components
    assert (first.weighted.weight, second.weight) == (5, 10_000)


def test_sum_is_valid_and_takes_overrides(tmp_path):
    path = tmp_path / "sum.yaml"
    path.write_text(CONFIG)
    config = load_config([path], ["strategies.correlation+ewc.ewc.weight=7"])
    validate(config)
    assert config.to_yaml_dict()["strategies"] == [{"correlation+ewc": {"ewc": {"weight": 7}}}]


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ("[correlaton+ewc]", "there is no strategy 'correlaton'; did you mean 'correlation'?"),
        ("[ewc+ewc]", "'ewc' is in ewc+ewc twice; remove one"),
        ("[{l2+ewc: {ewd: {weight: 1}}}]", "'ewd' is not part of l2+ewc; did you mean 'ewc'?"),
        ("[{l2+ewc: {ewc: {wieght: 1}}}]", "ewc has no argument 'wieght'; did you mean 'weight'?"),
        ("[{l2+ewc: {ewc: 3}}]", "the options of ewc must be a mapping, got 3"),
        ("[{l2+ewc: {ewc: {weight: -1}}}]", "cannot be built: the weight of ewc_loss must be at"),
        ("[l2+frozen]", "cannot be built: one part of the sum trains on a task"),
    ],
)
def test_what_is_wrong_with_a_sum_is_said(problems, strategies, message):
    assert message in problems(f"strategies={strategies}")
