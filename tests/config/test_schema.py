import string
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pml_incremental.config import (
    CheckpointSpecs,
    ExperimentConfig,
    ModelSpecs,
    ObjectSpec,
    TransformSpecs,
    dump_yaml,
    load_config,
)

NAMES = st.text(string.ascii_letters + string.digits + "_-", min_size=1)
# With a colon they would name code to import, which a config must allow.
TEXT = st.text(st.characters(exclude_characters=":", codec="utf-8"))
KEYS = TEXT.filter(bool)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**40), 2**40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ARGUMENTS = st.dictionaries(
    st.sampled_from(["distance", "reducer", "losses", "transforms"]) | TEXT, JSON, max_size=3
)
OBJECTS = st.builds(ObjectSpec, class_name=KEYS, kwargs=ARGUMENTS)
BY_NAME = st.dictionaries(KEYS, OBJECTS, max_size=2)
OBJECT_TUPLES = st.lists(OBJECTS, max_size=3).map(tuple)
CONFIGS = st.builds(
    ExperimentConfig,
    name=NAMES,
    seed=st.integers(0, 2**70),
    output=NAMES.map(Path),
    device=st.sampled_from(["auto", "cpu", "cuda:1"]),
    threads=st.none() | st.integers(1, 64),
    dataset=OBJECTS,
    scenario=OBJECTS,
    transforms=st.builds(TransformSpecs, train=OBJECT_TUPLES, eval=OBJECT_TUPLES),
    models=st.builds(ModelSpecs, trunk=OBJECTS, embedder=st.none() | OBJECTS),
    loss_funcs=BY_NAME,
    loss_weights=st.dictionaries(KEYS, NUMBERS, max_size=2),
    mining_funcs=BY_NAME,
    sampler=st.none() | OBJECTS,
    optimizers=BY_NAME,
    lr_schedulers=BY_NAME,
    grad_clip_norm=st.none() | st.floats(1e-9, 1e9),
    trainer=OBJECTS,
    num_epochs=st.integers(1, 99) | st.lists(st.integers(1, 99), min_size=1).map(tuple),
    tester=OBJECTS,
    deterministic=st.booleans(),
    allow_imports=st.lists(st.sampled_from(["mine", "mine.losses"]), max_size=2).map(tuple),
    checkpoint=st.builds(
        CheckpointSpecs,
        epochs=st.none() | st.integers(1, 99),
        minutes=st.none() | st.floats(1e-9, 1e9),
    ),
    strategies=st.lists(OBJECTS, min_size=1, max_size=3, unique_by=repr).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(CONFIGS)
def test_a_config_written_and_loaded_again_is_equal(config):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_text(dump_yaml(config.to_yaml_dict()), encoding="utf-8")
        again = load_config([path])
    assert again == config
    assert again.to_yaml_dict() == config.to_yaml_dict()


def test_the_example_too(example, tmp_path):
    config = load_config([example], ["seed=3", "strategies={correlation: {weight: 1e-5}}"])
    plain = config.to_yaml_dict()
    assert plain["optimizers"]["trunk_optimizer"] == {"Adam": {"lr": 0.001}}
    assert plain["output"] == "runs"
    assert plain["strategies"] == [{"correlation": {"weight": 1e-5}}]
    copy = tmp_path / "resolved.yaml"
    copy.write_text(dump_yaml(plain))
    assert load_config([copy]) == config
    assert load_config([copy], ["seed=4"]) != config


def test_configs_are_frozen_and_forbid_extras(example):
    config = load_config([example])
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        ExperimentConfig.model_validate({**config.to_yaml_dict(), "sed": 3})
