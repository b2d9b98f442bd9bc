import collections
import copy
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from pml_incremental.config import ObjectSpec, parse_yaml
from pml_incremental.models import BNInception, load_weights


class Network(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.bn = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)

    def forward(self, images):
        return self.fc(self.bn(self.conv(images)).mean((2, 3)))


@pytest.fixture
def trained():
    torch.manual_seed(1)
    network = Network()
    network.bn.running_mean.normal_()
    return network


def save(trained, path, form):
    state = trained.state_dict()
    if form == "safetensors":
        save_file(state, path)
    elif form == "checkpoint":
        torch.save({"state_dict": state, "epoch": 3}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    return path


FORMS = {"safetensors": "w.safetensors", "zip": "w.pth", "legacy": "w.pth", "checkpoint": "w.pt"}


@pytest.mark.parametrize("form", FORMS)
def test_all_weights_but_the_head_are_taken(trained, tmp_path, form):
    path = save(trained, tmp_path / FORMS[form], form)
    network = load_weights(Network(classes=3), path)
    assert isinstance(network.fc, nn.Identity)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, trained.state_dict()[name])
    trained.fc = nn.Identity()
    images = torch.randn(2, 3, 4, 4)
    torch.testing.assert_close(network.eval()(images), trained.eval()(images))


def test_prefix(trained, tmp_path):
    state = {f"trunk.{name}": tensor for name, tensor in trained.state_dict().items()}
    save_file({**state, "embedder.0.weight": torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    network = load_weights(Network(), tmp_path / "w.safetensors", prefix="trunk.")
    torch.testing.assert_close(network.conv.weight, trained.conv.weight)
    with pytest.raises(ValueError, match=r"under 'student\.' does not .*Network:\n6 missing"):
        load_weights(Network(), tmp_path / "w.safetensors", prefix="student.")


def test_head_can_be_kept_and_must_then_be_there(trained, tmp_path):
    path = save(trained, tmp_path / "w.pth", "zip")
    network = load_weights(Network(), path, keep_head=True)
    torch.testing.assert_close(network.state_dict(), trained.state_dict())
    with pytest.raises(ValueError, match=r"2 of another shape: fc\.weight"):
        load_weights(Network(classes=3), path, keep_head=True)
    trained.fc = nn.Identity()
    save(trained, path, "zip")
    with pytest.raises(ValueError, match=r"2 missing: fc\.weight, fc\.bias"):
        load_weights(Network(), path, keep_head=True)
    assert isinstance(load_weights(Network(), path).fc, nn.Identity)


def test_old_files_of_bn_inception(tmp_path):
    """They hold vectors of BatchNorm as (1, n), no counters, and a head."""
    torch.manual_seed(0)
    trained = BNInception()
    old = collections.OrderedDict(
        (name, tensor[None] if "_bn." in name else tensor)
        for name, tensor in trained.state_dict().items()
        if "num_batches_tracked" not in name
    )
    old["last_linear.weight"], old["last_linear.bias"] = torch.zeros(1000, 1024), torch.zeros(1000)
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    network = load_weights(BNInception(), tmp_path / "old.pth")
    for name, tensor in trained.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], tensor)


def test_missing_unexpected_and_misshapen_weights_are_all_named(trained, tmp_path):
    state = trained.state_dict()
    del state["conv.bias"], state["bn.num_batches_tracked"]
    state["conv.weight"] = torch.zeros(4, 1, 1, 1)
    state["layer.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    network = Network()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(ValueError, match=r"w\.pth does not hold the weights of Network") as caught:
        load_weights(network, tmp_path / "w.pth")
    assert str(caught.value).splitlines()[1:] == [
        "1 missing: conv.bias",
        "1 not of this network: layer.weight",
        "1 of another shape: conv.weight (4, 1, 1, 1) instead of (4, 3, 1, 1)",
    ]
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, before[name])


def test_many_names_are_counted_and_some_shown(tmp_path):
    torch.save({f"a{i}": torch.zeros(1) for i in range(9)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"9 not of this network: a0, a1, a2, a3, a4, \.\.\."):
        load_weights(Network(), tmp_path / "w.pth")


def test_a_folder_is_said_to_be_one_and_its_weights_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth: there is no such file of weights"):
        load_weights(Network(), tmp_path / "none.pth")
    with pytest.raises(FileNotFoundError, match="is a folder; name a file of weights"):
        load_weights(Network(), tmp_path)
    for place in ("finetune/task_2", "task_1"):
        (tmp_path / place).mkdir(parents=True)
        save(trained, tmp_path / place / "model.safetensors", "safetensors")
    places = ("task_1", "finetune/task_2")
    first, second = (tmp_path / place / "model.safetensors" for place in places)
    with pytest.raises(FileNotFoundError, match=f"name one of those in it: {first}, {second}$"):
        load_weights(Network(), tmp_path)


class Payload:
    def __reduce__(self):
        return (print, ("code of the file runs",))


ADVICE = r"; save them with torch\.save\(model\.state_dict\(\), \.\.\.\)$"
NO_PICKLE = "torch.save did not write it, or it is damaged"
OBJECTS = "it has more than tensors, such as a whole model"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", NO_PICKLE),
        (b"<html>not found</html>", NO_PICKLE),
        (b"0", NO_PICKLE),
        (b"K", NO_PICKLE),
        (b"Gx", NO_PICKLE),
        (b"\x89PNG\r\n\x1a\n\x00\x00", NO_PICKLE),
        (pickle.dumps(Payload(), protocol=2), OBJECTS),
    ],
)
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
def test_what_is_no_weights_file_is_refused_and_not_run(tmp_path, content, reason, name, capsys):
    (tmp_path / name).write_bytes(content)
    expected = reason if name == "w.pth" else "it is not a safetensors file, or is damaged"
    with pytest.raises(ValueError, match=f"cannot be read as weights: {expected}.*{ADVICE}"):
        load_weights(Network(), tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("is_zip", [True, False])
def test_whole_models_are_refused(trained, tmp_path, is_zip):
    torch.save(trained, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    with pytest.raises(ValueError, match=f"cannot be read as weights: {OBJECTS}.*{ADVICE}"):
        load_weights(Network(), tmp_path / "w.pth")


def mlp(file, **options):
    spec = {"MLP": {"layer_sizes": [3], "weights_file": str(file), **options}}
    return ObjectSpec.parse(spec).build("model", in_features=6)


def test_a_single_layer_is_an_mlp_of_one_if_it_has_a_bias(tmp_path):
    layer = nn.Linear(6, 3)
    torch.save(layer.state_dict(), tmp_path / "w.pth")
    assert torch.equal(mlp(tmp_path / "w.pth")[0].weight, layer.weight)
    layer = nn.Linear(6, 3, bias=False)
    torch.save(layer.state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"missing: 0\.bias") as caught:
        mlp(tmp_path / "w.pth")
    said, _, written = str(caught.value).splitlines()[-1].partition(": write ")
    assert said == "they are those of a single layer"
    spec = parse_yaml(f"{{{written}}}")
    spec["Linear"]["weights_file"] = str(tmp_path / "w.pth")
    built = ObjectSpec.parse(spec).build("model", in_features=6)
    assert torch.equal(built.weight, layer.weight)


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "holds no mapping"), ({"epoch": 3, "model": {}}, "the entries epoch, model instead")],
)
def test_other_content_is_named(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=message):
        load_weights(Network(), tmp_path / "w.pth")


def test_models_saved_together_are_told_apart_by_prefix(trained, tmp_path):
    torch.save({"trunk": trained.state_dict(), "embedder": {}}, tmp_path / "w.pth")
    network = load_weights(Network(), tmp_path / "w.pth", prefix="trunk.")
    found = network.state_dict()
    assert all(torch.equal(found[k], t) for k, t in trained.state_dict().items() if k in found)


def test_torchvision_trunk(tmp_path):
    from torchvision.models import resnet18

    trained = resnet18(weights=None)
    torch.save(trained.state_dict(), tmp_path / "resnet18.pth")
    network = load_weights(resnet18(weights=None, num_classes=7), tmp_path / "resnet18.pth")
    torch.testing.assert_close(network.layer4[1].conv2.weight, trained.layer4[1].conv2.weight)


class Whole(nn.Module):
    """A network of a user's script: trunk and embedder under the names that people give them."""

    def __init__(self):
        super().__init__()
        self.backbone = Network()
        self.backbone.fc = nn.Identity()
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.backbone(images))


def as_lightning(model):
    names = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"state_dict": {**names, "loss.W": torch.zeros(4, 4)}, "epoch": 3}


def with_optimizer(model):
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 4, 4)).sum().backward()
    optimizer.step()
    state = {"model_state_dict": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
    return {**state, "loss": torch.tensor(0.1)}


CHECKPOINTS = {
    "plain": lambda model: model.state_dict(),
    "state_dict": lambda model: {"state_dict": model.state_dict()},
    "model_state_dict and an optimizer": with_optimizer,
    "model": lambda model: {"model": model.state_dict(), "args": {"lr": 0.1}},
    "lightning": as_lightning,
    "parallel": lambda model: nn.DataParallel(model).state_dict(),
    "compiled": lambda model: torch.compile(model).state_dict(),
    "compiled within": lambda model: (
        setattr(model, "backbone", torch.compile(model.backbone)) or model.state_dict()
    ),
    "parallel and compiled": lambda model: {
        "model_state_dict": nn.DataParallel(torch.compile(model)).state_dict()
    },
    "other words": lambda model: {f"my.net.{k}": v for k, v in model.state_dict().items()},
}


@pytest.mark.parametrize("form", CHECKPOINTS)
def test_a_model_is_found_under_any_prefix(tmp_path, form):
    model = Whole()
    original = copy.deepcopy(model)
    torch.save(CHECKPOINTS[form](model), tmp_path / "w.pth")
    expected = Whole().state_dict()
    whole = load_weights(Whole(), tmp_path / "w.pth", keep_head=True)
    parts = {
        "backbone": load_weights(Network(), tmp_path / "w.pth"),
        "head": load_weights(nn.Linear(4, 3), tmp_path / "w.pth", keep_head=True),
    }
    state = original.state_dict() if "optimizer" not in form else model.state_dict()
    assert state.keys() == expected.keys()
    torch.testing.assert_close(whole.state_dict(), state, rtol=0, atol=0)
    for part, network in parts.items():
        found = {f"{part}.{name}": tensor for name, tensor in network.state_dict().items()}
        torch.testing.assert_close(
            found, {name: t for name, t in state.items() if name in found}, rtol=0, atol=0
        )
        assert found


def test_a_network_within_another_takes_the_bare_ones_weights(trained, tmp_path):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.tower = Network()

    torch.save(trained.state_dict(), tmp_path / "w.pth")
    network = load_weights(Wrapped(), tmp_path / "w.pth", keep_head=True)
    torch.testing.assert_close(network.tower.state_dict(), trained.state_dict())


def test_of_several_models_one_is_to_be_named(trained, tmp_path):
    saved = {"model": trained.state_dict(), "ema": Network().state_dict()}
    torch.save(saved, tmp_path / "w.pth")
    network = load_weights(Network(), tmp_path / "w.pth")  # of usual words
    torch.testing.assert_close(network.conv.weight, saved["model"]["conv.weight"])
    network = load_weights(Network(), tmp_path / "w.pth", prefix="ema.")
    torch.testing.assert_close(network.conv.weight, saved["ema"]["conv.weight"])
    torch.save({"student": saved["model"], "teacher": saved["ema"]}, tmp_path / "w.pth")
    with pytest.raises(
        ValueError, match=r"Network under 'student\.', 'teacher\.'; name the one .*"
    ):
        load_weights(Network(), tmp_path / "w.pth")


def test_what_fits_nowhere_shows_the_prefixes_there_are(trained, tmp_path):
    torch.save({"net": trained.state_dict(), "loss": {"W": torch.zeros(2)}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"2 missing: weight, bias") as caught:
        load_weights(nn.Linear(9, 9), tmp_path / "w.pth", keep_head=True)
    assert str(caught.value).splitlines()[-2:] == [
        "the names in it begin with net. (9), loss. (1); name the one that is meant with "
        "weights_prefix (on the command line --weights-prefix)",
        "if they are in another file, name that (an embedder's by its own weights_file, on the "
        "command line --embedder)",
    ]


def test_an_embedder_beside_a_lone_trunk_is_not_missed(tmp_path):
    torch.save({"model": Whole().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"under 'head\.' too, .* weights_prefix: backbone\."):
        load_weights(Network(), tmp_path / "w.pth", alone=True)
    load_weights(Network(), tmp_path / "w.pth", prefix="backbone.", alone=True)


@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "googlenet"])
def test_what_a_file_replaces_is_not_downloaded(tmp_path, monkeypatch, name):
    def download(*_, **__):
        raise AssertionError("a download was begun")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    options = {"weights": "IMAGENET1K_V1"}
    with pytest.raises(AssertionError, match="download"):
        ObjectSpec.parse({name: options}).build("model")
    aux = {"aux_logits": False} if name == "googlenet" else {}
    trained = getattr(models, name)(weights=None, **aux)
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    spec = ObjectSpec.parse({name: {**options, "weights_file": str(tmp_path / "w.pth")}})
    network = spec.build("model")
    first = next(iter(trained.state_dict()))
    assert torch.equal(network.state_dict()[first], trained.state_dict()[first])
    assert getattr(network, "transform_input", True)  # as with the weights that were named
