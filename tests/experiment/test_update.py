"""One incremental step from a weights file to a weights file."""

import json

import pytest
import torch
from safetensors.torch import load_file
from stage_weights import same

from pml_incremental.config import ConfigError, dump_yaml, load_config, parse_yaml
from pml_incremental.experiment import run, update
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.updating import update as module
from pml_incremental.storage import read_tensor_file, write_tensor_file

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("module_without_pictures")]  # whole runs

OLD, NEW = "abcdef", "uvwxy"
FAST = ("num_epochs=2", "threads=1")


@pytest.fixture(scope="module")
def world(draw_classes, tiny_config, tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    sets = {"old": OLD, "old_test": OLD, "new": NEW, "new_test": NEW}
    for seed, (name, classes) in enumerate(sets.items()):
        draw_classes(root / name, classes, seed=seed)
    config = tiny_config(
        root,
        name="shop",
        dataset={"ImageFolder": {"root": str(root / "old")}},
        scenario={"ClassIncrementalScenario": {"classes_per_task": [6]}},
        transforms={side: [{"Resize": {"size": [16, 16]}}] for side in ("train", "eval")},
        models={
            "trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
        },
        trainer={"IncrementalMetricLoss": {"batch_size": 24, "iterations_per_epoch": 3}},
        strategies=["finetune"],
    )
    run(config, progress=False)
    return root


@pytest.fixture(scope="module")
def weights(world):
    return world / "shop/task_1/model.safetensors"


def step(world, weights, out, **options):
    return update(weights, world / "new", out, **{"overrides": FAST, "progress": False, **options})


@pytest.fixture(scope="module")
def updated(world, weights):
    tests = [world / "old_test", world / "new_test"]
    return step(world, weights, world / "new.safetensors", tests=tests)


def models(file):
    found = {k: t for k, t in load_file(file).items() if k.startswith(("trunk.", "embedder."))}
    assert len(found) > 10
    return found


def test_the_new_weights_are_those_of_a_run_of_one_task(world, weights, updated):
    assert updated.file == world / "new.safetensors"
    learned = FinishedRun(updated.folder).weights("function-matching", 1)
    assert same(models(updated.file), models(learned))
    assert not same(models(updated.file), models(weights))
    config = load_config([updated.folder / "config.yaml"])
    assert config.trained_start
    assert config.num_epochs == 2


def test_what_was_done_to_the_trained_weights_is_said(world, weights, updated, tmp_path):
    assert (updated.new_share is None, updated.rotated) == (False, None)
    done = step(world, weights, tmp_path / "x.safetensors", strategy="correlation+merge+align")
    said = json.loads((done.folder / "correlation+merge+align/task_1/memory.json").read_text())
    assert (done.new_share, done.rotated) == (0.5, said["rotated"])


def test_it_learns_as_the_old_model_did(weights, updated):
    old, new = (read_tensor_file(file, "").state["recipe"] for file in (weights, updated.file))
    differing = {key for key in old if old[key] != new[key]}
    # The five new classes fill no batch of six, and the epochs were given.
    assert differing == {"trainer", "num_epochs"}
    assert new["trainer"]["IncrementalMetricLoss"]["batch_size"] == 20


def test_figures_are_those_of_each_model_on_each_folder(world, weights, updated):
    names = [str(world / "old_test"), str(world / "new_test"), module.NEW_IMAGES]
    for figures in (updated.before, updated.after):
        assert list(figures.own) == list(figures.together) == names
        assert all(0 <= value <= 1 for value in figures.own.values())
        # More images can only hide those of the class, unless classes meet in several folders.
        assert figures.together[names[0]] <= figures.own[names[0]]
    finished = FinishedRun(updated.folder)
    rows = [finished.folder / name for name in ("before", "function-matching/task_1")]
    read = [json.loads((row / "evaluation.json").read_text())["values"] for row in rows]
    held_out = [values["own/recall_at_1"]["task_1"] for values in read]
    assert [f.own[module.NEW_IMAGES] for f in (updated.before, updated.after)] == held_out
    written = json.loads((finished.folder / "update.json").read_text())
    for name, change in updated.changes.items():
        gain = updated.after.together[name] - updated.before.together[name]
        assert change.mean == pytest.approx(gain)
        assert f"{name}: " in written["verdict"]
    written = written["recall_at_1"]
    assert written["after"] == updated.after.to_dict()


def test_the_same_class_in_several_folders_is_one_class(world, weights, tmp_path, draw_classes):
    mixed = draw_classes(tmp_path / "mixed", "ua", images=1, seed=5)
    done = step(world, weights, tmp_path / "new.safetensors", tests=[mixed, world / "old_test"])
    # Each has one image there, so alone there is nothing to find; together there is.
    assert done.after.own[str(mixed)] != done.after.own[str(mixed)]
    assert 0 <= done.after.together[str(mixed)] <= 1


def test_an_update_goes_on_where_it_was_killed(world, weights, updated, tmp_path, monkeypatch):
    out = tmp_path / "new.safetensors"
    before = module.measure

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "measure", fail)
    with pytest.raises(KeyboardInterrupt):
        step(world, weights, out)
    assert not out.exists()
    monkeypatch.setattr(module, "measure", before)
    stage = tmp_path / "new_update/function-matching/task_1"
    (stage / "evaluation.json").unlink()
    step(world, weights, out)
    assert same(models(out), models(updated.file))


def test_old_weights_that_changed_meanwhile_are_noticed(world, weights, tmp_path, monkeypatch):
    old, out = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    old.write_bytes(weights.read_bytes())
    monkeypatch.setattr(module, "measure", lambda *_: [][0])  # as if it were killed
    with pytest.raises(IndexError):
        step(world, old, out)
    found = read_tensor_file(old, "")
    write_tensor_file(old, {k: t + 1 for k, t in found.tensors.items()}, found.state)
    with pytest.raises(
        ValueError, match=r"old\.safetensors has changed since .*new_update was started"
    ):
        step(world, old, out)
    assert not out.exists()


def test_old_weights_may_be_moved_meanwhile(world, weights, updated, tmp_path, monkeypatch):
    old, out = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    old.write_bytes(weights.read_bytes())
    with monkeypatch.context() as killed:
        killed.setattr(module, "measure", lambda *_: [][0])
        with pytest.raises(IndexError):
            step(world, old, out)
    elsewhere = old.rename(tmp_path / "elsewhere.safetensors")
    step(world, elsewhere, out)
    assert same(models(out), models(updated.file))
    assert str(elsewhere) in (tmp_path / "new_update/config.yaml").read_text()


def test_updates_follow_each_other(world, updated, tmp_path, draw_classes):
    draw_classes(tmp_path / "newer", "mno", seed=7)
    out = tmp_path / "newer.safetensors"
    options = {"overrides": FAST, "progress": False, "strategy": "l2"}
    done = update(updated.file, tmp_path / "newer", out, **options)
    assert (done.folder / "l2/task_1/model.safetensors").is_file()
    assert not same(models(out), models(updated.file))


@pytest.mark.parametrize("form", ["nested", "two files"])
def test_checkpoints_of_others_are_taken_with_a_config(world, weights, updated, tmp_path, form):
    state = models(weights)
    parts = {
        part: {k.removeprefix(f"{part}."): t for k, t in state.items() if k.startswith(part)}
        for part in ("trunk", "embedder")
    }
    file, options = tmp_path / "old.pth", {"config": world / "shop/config.yaml"}
    if form == "nested":
        torch.save(parts, file)
    else:
        torch.save(parts["trunk"], file)
        options["embedder"] = tmp_path / "embedder.pth"
        torch.save(parts["embedder"], options["embedder"])
    out = tmp_path / "new.safetensors"
    step(world, file, out, **options)
    assert same(models(out), models(updated.file))


def test_a_config_of_models_and_transforms_is_enough(world, weights, tmp_path):
    short = tmp_path / "short.yaml"
    short.write_text(
        "models: {trunk: {SmallConvNet: {in_channels: 3, width: 4}}}\n"
        "transforms: {train: [Resize: {size: [16, 16]}], eval: [Resize: {size: [16, 16]}]}\n"
    )
    trunk = {k.removeprefix("trunk."): t for k, t in models(weights).items() if k[0] == "t"}
    torch.save(trunk, tmp_path / "trunk.pth")
    done = step(world, tmp_path / "trunk.pth", tmp_path / "new.safetensors", config=short)
    config = load_config([done.folder / "config.yaml"])
    assert config.models.embedder is None
    assert list(config.optimizers) == ["trunk_optimizer"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "ewc"}, "ewc uses what it kept from earlier tasks"),
        ({"strategy": "joint"}, "joint trains on old images too"),
        ({"strategy": "frozen"}, "frozen does not train"),
        ({"strategy": "corelation"}, "command line: --strategy: strategies.0.corelation: there is"),
        (
            {"strategy": "correlation: {weigth: 40}"},
            "--strategy: strategies.0.correlation.weigth: correlation has no argument",
        ),
        ({"strategy": "correlation: {"}, "command line: --strategy: line 1, column 15: "),
        ({"overrides": ["strategies=[l2, mmd]"]}, "an update has one strategy"),
        ({"overrides": ["sed=1"]}, "command line: sed: unknown key; did you mean 'seed'?"),
    ],
)
def test_what_cannot_be_done_is_said_first(world, weights, tmp_path, options, message):
    with pytest.raises(ConfigError) as caught:
        step(world, weights, tmp_path / "new.safetensors", **options)
    (problem,) = caught.value.problems
    assert message in problem
    assert list(tmp_path.iterdir()) == []


def test_places_are_looked_at_first(world, weights, updated, tmp_path):
    with pytest.raises(ConfigError, match="exists; choose another name"):
        step(world, weights, updated.file)
    with pytest.raises(ConfigError, match=r"written as \.safetensors; name such a file"):
        step(world, weights, tmp_path / "new.pth")
    with pytest.raises(ConfigError, match="there is no such file of weights"):
        step(world, tmp_path / "none.pth", tmp_path / "new.safetensors")
    with pytest.raises(ConfigError, match="the update learns from it"):
        step(world, weights, tmp_path / "new.safetensors", tests=[world / "new"])


def test_weights_that_say_nothing_of_their_model(world, weights, tmp_path):
    torch.save(models(weights), tmp_path / "old.pth")
    with pytest.raises(ConfigError, match="does not describe its model; name with"):
        step(world, tmp_path / "old.pth", tmp_path / "new.safetensors")
    (tmp_path / "poor.yaml").write_text("models: {trunk: resnet18}\n")
    with pytest.raises(ConfigError, match=r"poor\.yaml: has no transforms; add them"):
        step(world, weights, tmp_path / "new.safetensors", config=tmp_path / "poor.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("models: resnet18", "models: "),
        ("trainer: [1]", "trainer: must be one object"),
        ("sampler: {MPerClassSampler: {m: many}}", "sampler.MPerClassSampler.m: "),
        ("num_epochs: []", "num_epochs: must be a whole number of at least 1"),
        ("modles: {}", "modles: unknown key; did you mean 'models'?"),
    ],
)
def test_a_config_of_weights_that_is_wrong_is_named(world, weights, tmp_path, change, message):
    own = tmp_path / "own.yaml"
    lines = (world / "shop/config.yaml").read_text()
    values = {**parse_yaml(lines), **parse_yaml(change)}
    own.write_text(dump_yaml(values))
    with pytest.raises(ConfigError) as caught:
        step(world, weights, tmp_path / "new.safetensors", config=own, overrides=())
    assert f"{own}: {message}" in str(caught.value)


def test_damaged_weights_and_what_is_no_file_of_weights_are_named(world, weights, tmp_path):
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    old.write_bytes(content)
    with pytest.raises(ValueError, match=r"old\.safetensors is damaged: it fails its checksum"):
        step(world, old, new)
    for file in (old, tmp_path / "old.pth"):
        file.write_bytes(b"no weights at all")
        with pytest.raises(ValueError, match=rf"{file.name} cannot be read as weights"):
            step(world, file, new)


def test_weights_of_no_model_say_nothing_of_one(world, weights, tmp_path):
    tensors = read_tensor_file(weights, "").tensors
    for state in ({"trainer": {}}, {"recipe": [], "image_mode": "RGB"}, None):
        write_tensor_file(tmp_path / "old.safetensors", tensors, state)
        with pytest.raises(ConfigError, match="does not describe its model"):
            step(world, tmp_path / "old.safetensors", tmp_path / "new.safetensors")


@pytest.mark.parametrize("own", [{}, {"allow_imports": ["antigravity"]}])
def test_code_that_weights_name_is_not_imported(world, weights, tmp_path, own):
    found = read_tensor_file(weights, "")
    found.state["recipe"]["models"]["trunk"] = {"antigravity:fly": {}}
    found.state["recipe"] |= own
    write_tensor_file(tmp_path / "old.safetensors", found.tensors, found.state)
    with pytest.raises(ConfigError, match=r"write --allow-imports antigravity"):
        step(world, tmp_path / "old.safetensors", tmp_path / "new.safetensors")
