import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pml_incremental.config import ConfigError, ObjectSpec, load_config
from pml_incremental.config.layout import canonical, find_objects
from pml_incremental.config.loading import apply_override

EPOCHS = "must be a whole number of at least 1, or a list of them, one per task"
Write = Callable[..., Path]


def problems(paths, *overrides):
    with pytest.raises(ConfigError) as raised:
        load_config(paths, overrides)
    return raised.value.problems


def test_example(example):
    config = load_config([example])
    assert config.name == "demo"
    assert config.seed == 0
    assert config.output == Path("runs")
    assert config.num_epochs == (3, 2)
    assert [spec.class_name for spec in config.transforms.train] == ["Resize", "RandomAffine"]
    assert config.loss_funcs["metric_loss"].kwargs["distance"] == {"CosineSimilarity": {}}
    assert config.optimizers["trunk_optimizer"].kwargs["lr"] == 0.001
    assert config.tester == ObjectSpec(class_name="IncrementalTester")
    assert [spec.class_name for spec in config.strategies] == ["finetune", "correlation"]
    assert config.models.classifier is None


def test_every_object_of_the_schema_has_a_category(example):
    own = ["models.classifier=A", "lr_schedulers.x=B", "loss_funcs.metric_loss=C"]
    config = load_config([example], own)
    written = re.findall(r"ObjectSpec\(class_name='([^']+)'", repr(config))
    found = [name for _, _, name, _ in find_objects(config.to_yaml_dict())]
    assert found == written
    assert len(found) == 18


def test_the_file_gives_the_name(example, write):
    text = example.read_text().replace("name: demo\n", "")
    assert load_config([write(text, "my-run_2.yaml")]).name == "my-run_2"
    (line,) = problems([write(text, "my run.yaml")])
    assert "my run.yaml (the file's name): name: 'my run' may hold only letters" in line


def test_later_files_and_overrides_win(example, write):
    text = "seed: 1\nthreads: 1\nloss_funcs: {metric_loss: {TripletMarginLoss: {margin: 0.3}}}"
    small = write(text, "small.yaml")
    config = load_config([example, small], ["seed=2", "sampler=null"])
    assert (config.seed, config.threads, config.sampler) == (2, 1, None)
    assert config.loss_funcs["metric_loss"].kwargs == {
        "margin": 0.3,
        "distance": {"CosineSimilarity": {}},
    }
    assert config.name == "demo"


def test_null_empties_a_section_and_removes_an_entry(example):
    config = load_config(
        [example], ["mining_funcs=", "transforms=", "optimizers.embedder_optimizer="]
    )
    assert config.mining_funcs == {}
    assert config.transforms.train == ()
    assert list(config.optimizers) == ["trunk_optimizer"]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("sed=1", "sed: unknown key; did you mean 'seed'?"),
        (
            "optimisers.trunk_optimizer.Adam.lr=1",
            "optimisers: unknown key; did you mean 'optimizers'?",
        ),
        ("models.trnk=resnet18", "models.trnk: unknown key; did you mean 'trunk'?"),
        ("transforms.trian=[]", "transforms.trian: unknown key; did you mean 'train'?"),
        ("checkpoint.minute=1", "checkpoint.minute: unknown key; did you mean 'minutes'?"),
        ("records.evry=1", "records.evry: unknown key; did you mean 'every'?"),
        ("seed='1'", "seed: should be a valid integer, got '1'"),
        ("seed=true", "seed: should be a valid integer, got True"),
        ("seed=-1", "seed: should be greater than or equal to 0, got -1"),
        ("threads=0", "threads: should be greater than or equal to 1, got 0"),
        ("output=3", "output: should be the path of a folder, got 3"),
        ("device=gpu", "device: 'gpu' is not a device; write auto, cpu, mps, cuda or cuda:<index>"),
        ("num_epochs=0", f"num_epochs: {EPOCHS}; got 0"),
        ("num_epochs=[]", f"num_epochs: {EPOCHS}; got []"),
        ("grad_clip_norm=0", "grad_clip_norm: should be greater than 0, got 0"),
        (
            "loss_weights.metric_loss=many",
            "loss_weights.metric_loss: should be a valid number, got 'many'",
        ),
        (
            "loss_weights.metric_loss=.nan",
            "loss_weights.metric_loss: should be a finite number, got nan",
        ),
        ("strategies=[]", "strategies: names no strategy; name at least one, such as finetune"),
        (
            "strategies=[a, {a: }]",
            "strategies: 'a' appears twice with the same arguments; remove one",
        ),
        (
            "strategies=[{l2: {weight: 5}}, {l2: {weight: '5'}}]",
            "strategies: {'l2': {'weight': 5}} and {'l2': {'weight': '5'}} would both be called "
            "'l2-weight_5', in tables and as folders; remove one, or change its options",
        ),
        ("sampler=3", "sampler: must be one object, {ClassName: {argument: value}}, got 3"),
        ("loss_funcs=3", "loss_funcs: should be a valid dictionary, got 3"),
        ("trainer=", "trainer: must be one object, {ClassName: {argument: value}}, got None"),
        (
            "optimizers.trunk_optimizer={lr: 1}",
            "optimizers.trunk_optimizer: 'lr' is where a class name is expected, with 1 for "
            "its arguments; write {ClassName: {argument: value}}",
        ),
    ],
)
def test_wrong_keys_and_types(example, override, line):
    assert f"command line: {line}" in problems([example], override)


def test_the_error_names_the_file_that_the_key_came_from(example, write):
    second = write("seed: x\ndevise: cpu", "second.yaml")
    assert problems([example, second], "threads=x") == (
        f"{second}: seed: should be a valid integer, got 'x'",
        "command line: threads: should be a valid integer, got 'x'",
        f"{second}: devise: unknown key; did you mean 'device'?",
    )


def test_a_list_changed_in_part_comes_from_both(example):
    (line,) = problems([example], "num_epochs.0=1.5")
    assert line.startswith(f"{example}, command line: num_epochs: must be a whole number")
    assert line.endswith("got [1.5, 2]")


def test_missing_keys_are_missing_from_all_files(write):
    first, second = write("seed: 1", "a.yaml"), write("models: {embedder: MLP}", "b.yaml")
    lines = problems([first, second])
    assert f"{first}, {second}: dataset: is missing; add it" in lines
    assert f"{second}: models.trunk: is missing; add it" in lines


def test_wrong_objects_are_reported_along_with_wrong_keys(example):
    lines = problems([example], "sed=1", "loss_funcs.metric_loss.TripletMarginLoss.magrin=1")
    assert len(lines) == 2
    assert lines[1].endswith("has no argument 'magrin'; did you mean 'margin'?")


def test_all_unreadable_files_and_overrides_are_reported(example, write):
    empty = write("", "empty.yaml")
    missing = example.with_name("nowhere.yaml")
    assert len(problems([empty, missing, example])) == 2
    assert len(problems([example], "seed", "name.a=1")) == 2


def test_no_file():
    with pytest.raises(ConfigError, match="no config file is given"):
        load_config([])


CONFIG = canonical(
    {
        "seed": 0,
        "num_epochs": [3, 2],
        "models": {"trunk": {"SmallConvNet": {"width": 8}}},
        "loss_funcs": {"metric_loss": {"my_pkg.losses:MyLoss": {"margin": 0.1, "distance": "A"}}},
        "transforms": {"train": [{"Resize": {"size": 3}}, {"Pad": {}}, {"Pad": {}}]},
        "strategies": ["finetune", {"correlation": {"weight": 1}}],
    }
)


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=3", "seed", 3),
        ("name=a=b", "name", "a=b"),
        ("sampler=", "sampler", None),
        ("num_epochs=[1, 1]", "num_epochs", [1, 1]),
        ("num_epochs.1=7", "num_epochs", [3, 7]),
        ("models.trunk.SmallConvNet.width=16", "models.trunk", {"SmallConvNet": {"width": 16}}),
        (
            "models.trunk={SmallConvNet: {x: 1}}",
            "models.trunk",
            {"SmallConvNet": {"width": 8, "x": 1}},
        ),
        ("models.trunk={ResNet: {}}", "models.trunk", {"ResNet": {}}),
        ("models.trunk=resnet18", "models.trunk", {"resnet18": {}}),
        ("models.embedder.MLP.layer_sizes=[8]", "models.embedder", {"MLP": {"layer_sizes": [8]}}),
        ("sampler.a.b:C.m=1", "sampler", {"a.b:C": {"m": 1}}),
        ("strategies.1.correlation.weight=2", "strategies.1", {"correlation": {"weight": 2}}),
        ("strategies.correlation.weight=2", "strategies.1", {"correlation": {"weight": 2}}),
        ("strategies.0={lwf: {weight: 1e-2}}", "strategies.0", {"lwf": {"weight": 0.01}}),
        ("strategies={lwf: }", "strategies", [{"lwf": {}}]),
        ("transforms.train.Resize.size=5", "transforms.train.0", {"Resize": {"size": 5}}),
        ("transforms.train.2.Pad.fill=1", "transforms.train.2", {"Pad": {"fill": 1}}),
        (
            "loss_funcs.metric_loss.my_pkg.losses:MyLoss.margin=1",
            "loss_funcs.metric_loss",
            {"my_pkg.losses:MyLoss": {"margin": 1, "distance": {"A": {}}}},
        ),
        (
            "loss_funcs.metric_loss.my_pkg.losses:MyLoss.distance=B",
            "loss_funcs.metric_loss",
            {"my_pkg.losses:MyLoss": {"margin": 0.1, "distance": {"B": {}}}},
        ),
    ],
)
def test_override(override, path, value):
    node, _ = apply_override(CONFIG, override)
    for key in path.split("."):
        node = node[int(key)] if isinstance(node, list) else node[key]
    assert node == value
    assert CONFIG["seed"] == 0


def test_nothing_else_changes():
    changed, path = apply_override(CONFIG, "loss_funcs.metric_loss.my_pkg.losses:MyLoss.margin=1")
    assert path == ("loss_funcs", "metric_loss", "my_pkg.losses:MyLoss", "margin")
    assert {**changed, "loss_funcs": None} == {**CONFIG, "loss_funcs": None}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "seed: has no key and value; write key=value"),
        ("=3", "has no key and value"),
        ("seed={a: 1", "seed: line 1"),
        ("seed.x=1", "seed: is the value 0 and holds no 'x'; set seed itself"),
        ("num_epochs.2=1", r"num_epochs\.2: num_epochs has 2 entries, counted from 0"),
        ("strategies.corelation.weight=1", r"no such entry; did you mean 'correlation'\?"),
        ("transforms.train.Pad.fill=1", "is there 2 times; write its index"),
        (
            "models.trunk.width=1",
            r"models\.trunk\.width: models\.trunk is a SmallConvNet; "
            r"write models\.trunk\.SmallConvNet\.<argument>=\.\.\.",
        ),
    ],
)
def test_overrides_that_lead_nowhere(override, message):
    with pytest.raises(ConfigError, match=message) as raised:
        apply_override(CONFIG, override)
    assert str(raised.value).startswith("command line: ")
