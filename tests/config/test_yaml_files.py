import pytest
from hypothesis import given
from hypothesis import strategies as st

from pml_incremental.config import ConfigError, dump_yaml, parse_yaml, read_yaml
from pml_incremental.config.layout import canonical
from pml_incremental.config.yaml_files import Origins, merge

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
PLAIN = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
LOOK_LIKE_OTHERS = (
    "1e-4 1E5 -.5 .5 1. 0x1f 010 1_000 1:30 2024-01-01 yes No ~ null = << .inf .nan e5"
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-2E+3", -2000.0),
        ("1.5e3", 1500.0),
        (".5", 0.5),
        ("7", 7),
        ("-.inf", float("-inf")),
        ("true", True),
        ("2024-01-01", "2024-01-01"),
        ("e5", "e5"),
        ("'1e-4'", "1e-4"),
        ("", None),
    ],
)
def test_scalars(text, value):
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


@given(PLAIN)
def test_what_is_written_is_read_back(value):
    assert parse_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize("text", LOOK_LIKE_OTHERS.split())
def test_text_that_looks_like_something_else_stays_text(text):
    assert parse_yaml(dump_yaml({text: text})) == {text: text}


def test_anchors_and_merge_keys():
    text = "a: &a {lr: 1e-3}\nb: {<<: *a, eps: 1}\nc: {<<: *a, lr: 2}"
    assert parse_yaml(text) == {"a": {"lr": 0.001}, "b": {"lr": 0.001, "eps": 1}, "c": {"lr": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: 'a' appears twice"),
        ("a: {lr: 1, lr: 2}", "line 1, column 12: 'lr' appears twice"),
        ("a: [1, 2\nb: 3", "line 2"),
        ("a: 1\n  b: 2", "line 2, column 4: mapping values are not allowed here"),
        ("\tb: 2", "line 1, column 1: found character .* that cannot start any token"),
        ("a: 1\n---\nb: 2", "line 2, column 1: but found another document"),
        ("a: &a [*a]", "line 1, column 4: found unconstructable recursive node"),
        ("a: !!python/object:os.system {}", "could not determine a constructor"),
        ("a: !!set {x}", "could not determine a constructor"),
        ("a: !!int x", "tagged value cannot be read"),
        ("a: !!bool x", "tagged value cannot be read"),
        ("a: \x01", "not readable as YAML"),
    ],
)
def test_wrong_yaml_names_the_place(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as raised:
        read_yaml(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; write keys"),
        ("# nothing\n", "is empty"),
        ("- a\n- b", "holds a list; write a mapping"),
        ("[]", "holds a list"),
        ("just words", "holds the value 'just words'"),
    ],
)
def test_a_file_must_hold_a_mapping(tmp_path, text, message):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(path)


def test_missing_files_and_folders(tmp_path):
    (tmp_path / "glyphs.yaml").write_text("seed: 1")
    with pytest.raises(ConfigError, match=rf"no such file; did you mean '{tmp_path}/glyphs.yaml'"):
        read_yaml(tmp_path / "glyfs.yaml")
    with pytest.raises(ConfigError, match=r"no such file; known: glyphs\.yaml"):
        read_yaml(tmp_path / "x.yaml")
    with pytest.raises(ConfigError, match=rf"no such file, and no folder {tmp_path}/nowhere"):
        read_yaml(tmp_path / "nowhere" / "glyphs.yaml")
    with pytest.raises(ConfigError, match=r"is a folder; name a \.yaml file"):
        read_yaml(tmp_path)
    (tmp_path / "glyphs.yaml").unlink()
    with pytest.raises(ConfigError, match=r"no such file, and no other \.yaml file next to it"):
        read_yaml(tmp_path / "glyphs.yaml")


def test_text_must_be_utf_8(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes("name: Müller".encode("latin-1"))
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_yaml(path)


LOSS = ("loss_funcs", "metric_loss")


def loss(value):
    return {"loss_funcs": {"metric_loss": value}}


@pytest.mark.parametrize(
    ("base", "new", "merged"),
    [
        ({"seed": 1, "name": "a"}, {"seed": 2}, {"seed": 2, "name": "a"}),
        ({"num_epochs": [1, 2]}, {"num_epochs": [3]}, {"num_epochs": [3]}),
        # the same class: arguments are merged
        (loss({"A": {"x": 1, "y": 1}}), loss({"A": {"y": 2}}), loss({"A": {"x": 1, "y": 2}})),
        (loss({"A": {"x": 1}}), loss("A"), loss({"A": {"x": 1}})),
        # another class: replaced, arguments and all
        (loss({"A": {"x": 1}}), loss({"B": {}}), loss({"B": {}})),
        (loss({"A": {"x": 1}}), loss("B"), loss({"B": {}})),
        (
            loss({"A": {"distance": {"C": {"p": 1}}, "x": 1}}),
            loss({"A": {"distance": {"D": {}}}}),
            loss({"A": {"distance": {"D": {}}, "x": 1}}),
        ),
        # what is no object is merged however its keys are called
        (
            loss({"A": {"x": {"a": 1}}}),
            loss({"A": {"x": {"b": 2}}}),
            loss({"A": {"x": {"a": 1, "b": 2}}}),
        ),
        ({"sampler": {"A": {}}}, {"sampler": None}, {"sampler": None}),
        (
            {"optimizers": {"a": {"A": {}}}},
            {"optimizers": {"b": "B"}},
            {"optimizers": {"a": {"A": {}}, "b": {"B": {}}}},
        ),
    ],
)
def test_merge(base, new, merged):
    assert merge(canonical(base), canonical(new)) == merged


def test_origins_know_the_nearest_key_above():
    origins = Origins("a.yaml, b.yaml")
    origins.add({"metric_loss": {"A": {"x": 1}}}, ("loss_funcs",), "a.yaml")
    origins.add({"A": {"x": 2}}, LOSS, "b.yaml")
    assert origins.of((*LOSS, "A", "x")) == "b.yaml"
    assert origins.of((*LOSS, "A", "missing")) == "b.yaml"
    assert origins.of(("loss_funcs", "other")) == "a.yaml"
    assert origins.of(("loss_funcs",)) == "a.yaml, b.yaml"
    assert origins.of(("dataset",)) == "a.yaml, b.yaml"


def test_the_origins_of_a_whole_are_those_of_its_parts():
    origins = Origins()
    origins.add([1, 2, 3], ("num_epochs",), "a.yaml")
    origins.add(5, ("num_epochs", 0), "command line")
    assert origins.of(("num_epochs",)) == "a.yaml, command line"
    origins.forget_all_but({"num_epochs": [1]})
    assert ("num_epochs", 1) not in origins.known
    assert ("num_epochs", 0) in origins.known
