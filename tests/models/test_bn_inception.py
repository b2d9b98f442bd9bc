import copy
import hashlib

import pytest
import torch

from pml_incremental.models import BNInception, output_width, remove_classification_head


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return BNInception().eval()


def test_names_and_shapes_are_those_of_the_published_weights(network):
    """The digest is of the state that pretrainedmodels 0.7.4 loads, without last_linear."""
    state = network.state_dict()
    lines = [f"{k} {tuple(v.shape)}" for k, v in sorted(state.items()) if v.ndim]
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert digest == "1b2f6380c6e1d8612ccf2d584b9a2817c9bf292d59e65a2785560586196e862a"
    assert {"conv1_7x7_s2.weight", "inception_3a_1x1_bn.running_var"} < state.keys()
    assert "inception_5b_pool_proj.bias" in state
    assert sum(parameter.numel() for parameter in network.parameters()) == 10_270_240


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (227, 227)])
def test_features_for_several_sizes(network, size):
    assert output_width(network, torch.zeros(1, 3, *size)) == 1024


def test_size_that_cannot_be_halved_is_refused(network):
    with pytest.raises(ValueError, match="cannot halve maps of 15 x 15 in inception_4e"):
        network(torch.zeros(1, 3, 240, 240))


def test_has_no_head_to_remove(network):
    before = list(network.state_dict())
    assert list(remove_classification_head(copy.deepcopy(network)).state_dict()) == before


def test_every_weight_matters():
    torch.manual_seed(0)
    network = BNInception()
    network(torch.randn(4, 3, 64, 64)).square().sum().backward()
    idle = [n for n, p in network.named_parameters() if p.grad is None]
    assert idle == []
