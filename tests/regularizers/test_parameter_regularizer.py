"""What every parameter regulariser must do, whatever it measures importance by."""

import copy
from functools import partial

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pml_incremental.regularizers import EWC, MAS, OnlineEWC, SynapticIntelligence

REGULARIZERS = {
    "ewc": EWC,
    "online-ewc": partial(OnlineEWC, decay=0.9),
    "mas": MAS,
    "si": SynapticIntelligence,
}


@pytest.fixture(params=REGULARIZERS)
def build(request):
    return REGULARIZERS[request.param]


def make_model(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, outputs)).double()


def make_batches(seed=1, count=6):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((8, 4), (8, 3)) * count
    drawn = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return list(zip(drawn[::2], drawn[1::2], strict=True))


def loss_on(model, batch):
    images, targets = batch
    return (model(images)[:, :3] - targets).square().mean()


def train(model, batches, regularizer, strength=0.0, models=None, lr=0.05):
    models = models or model
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr)
    for batch in batches:
        optimizer.zero_grad()
        loss = loss_on(model, batch)
        if strength:
            loss = loss + strength * regularizer.penalty(models)
        loss.backward()
        if isinstance(regularizer, SynapticIntelligence):
            regularizer.before_step(models, strength)
        optimizer.step()
        if isinstance(regularizer, SynapticIntelligence):
            regularizer.after_step(models)


def end_task(regularizer, model, batches, models=None):
    """Consolidate the way the regulariser asks for."""
    forward = {
        "loss": lambda batch: loss_on(model, batch),
        "output": lambda batch: model(batch[0]),
        "steps": None,
    }[regularizer.importance_from]
    regularizer.consolidate(models or model, iter(batches), forward)


def learned(build, model=None):
    """A regulariser that saw one task of a model, and the model."""
    model, regularizer = model or make_model(), build()
    train(model, make_batches(), regularizer)
    end_task(regularizer, model, make_batches())
    return regularizer, model


def move(model, distance, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += distance * direction.to(parameter)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def test_zero_before_and_with_zero_gradient_right_after_the_first_task(build):
    penalty = build().penalty(make_model())
    assert penalty.shape == ()
    assert penalty == 0
    regularizer, model = learned(build)
    model.zero_grad()
    penalty = regularizer.penalty(model)
    penalty.backward()
    assert penalty == 0
    assert all(parameter.grad.eq(0).all() for parameter in model.parameters())


def test_value_and_gradient_are_those_of_the_weighted_sum_of_squares(build):
    regularizer, model = learned(build)
    near, far = copy.deepcopy(model), copy.deepcopy(model)
    move(near, 0.1)
    move(far, 0.3)
    near.zero_grad()
    state, expected = regularizer.state_dict(), 0.0
    penalty = regularizer.penalty(near)
    (3 * penalty).backward()
    for name, parameter in near.named_parameters():
        importance, anchor = state[f"importance/{name}"], state[f"anchor/{name}"]
        assert importance.min() >= 0
        rows = (importance.flatten(), parameter.flatten(), anchor.flatten())
        for weight, now, then in zip(*rows, strict=True):
            expected += regularizer.factor * weight * (now - then) ** 2
        pull = importance * (parameter.detach() - anchor)
        torch.testing.assert_close(parameter.grad, 3 * 2 * regularizer.factor * pull)
    torch.testing.assert_close(penalty, expected)
    assert expected > 0
    torch.testing.assert_close(regularizer.penalty(far), 9 * penalty)


def test_same_data_give_the_same_state_and_state_is_a_copy(build):
    regularizer, model = learned(build)
    assert same(regularizer.state_dict(), learned(build)[0].state_dict())
    for tensor in regularizer.state_dict().values():
        tensor.fill_(5)
    assert regularizer.penalty(model) == 0


def test_several_models_are_named_by_their_keys(build):
    whole, model = learned(build)
    parts = {"trunk": model[0], "embedder": model[2]}
    state = {
        key.replace("/0.", "/trunk.").replace("/2.", "/embedder."): tensor
        for key, tensor in whole.state_dict().items()
    }
    regularizer = build()
    regularizer.load_state_dict(state)
    move(model, 0.1)
    assert regularizer.penalty(parts) == whole.penalty(model)
    assert whole.penalty(nn.DataParallel(model)) == whole.penalty(model)  # a wrapped one
    train(model, make_batches(seed=2), regularizer, 0.1, models=parts)
    end_task(regularizer, model, make_batches(seed=2), models=parts)
    assert regularizer.state_dict().keys() == state.keys()


def test_frozen_parameters_are_skipped(build):
    model = make_model()
    model[0].requires_grad_(False)
    regularizer, _ = learned(build, model)
    names = {key.partition("/")[2] for key in regularizer.state_dict()}
    assert names == {"2.weight", "2.bias"}


def test_a_grown_classifier_is_held_by_its_old_rows(build):
    regularizer, model = learned(build)
    small = copy.deepcopy(model)
    with torch.no_grad():
        old, model[2] = model[2], nn.Linear(5, 7).double()
        model[2].weight[:3], model[2].bias[:3] = old.weight, old.bias
    assert regularizer.penalty(model) == 0
    with torch.no_grad():
        model[2].weight[3:] += 1
        assert regularizer.penalty(model) == 0
        model[2].weight[:3] += 0.1
        small[2].weight += 0.1
    torch.testing.assert_close(regularizer.penalty(model), regularizer.penalty(small))
    train(model, make_batches(seed=2), regularizer, 0.1)
    end_task(regularizer, model, make_batches(seed=2))
    state = regularizer.state_dict()
    assert state["importance/2.weight"].shape == (7, 5)
    torch.testing.assert_close(state["anchor/2.weight"][3:], model[2].weight.detach()[3:])
    model.zero_grad()
    regularizer.penalty(model).backward()
    assert model[2].weight.grad.shape == (7, 5)


def test_half_precision_parameters_are_compared_in_single(build):
    model = make_model().to(torch.bfloat16)
    batches = [tuple(t.to(torch.bfloat16) for t in batch) for batch in make_batches()]
    regularizer = build()
    train(model, batches, regularizer)
    end_task(regularizer, model, batches)
    assert {tensor.dtype for tensor in regularizer.state_dict().values()} == {torch.float32}
    assert regularizer.penalty(model) == 0


def test_state_goes_through_safetensors(build, tmp_path):
    regularizer, model = learned(build)
    train(model, make_batches(seed=2), regularizer, 0.1)
    save_file(regularizer.state_dict(), tmp_path / "regularizer.safetensors")
    loaded = build()
    loaded.load_state_dict(load_file(tmp_path / "regularizer.safetensors"))
    for memory in (regularizer, loaded):
        memory_model = copy.deepcopy(model)
        train(memory_model, make_batches(seed=4), memory, 0.1)
        end_task(memory, memory_model, make_batches(seed=4))
    assert same(regularizer.state_dict(), loaded.state_dict())


def test_states_that_do_not_fit_change_nothing(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    before = regularizer.penalty(model)
    state = regularizer.state_dict()
    half = {name: tensor for name, tensor in state.items() if name != "anchor/0.bias"}
    for other, message in (
        ({"fisher/w": torch.ones(1)}, r"cannot load 'fisher/w': its names begin with imp"),
        (half, r"anchor/0.bias is missing"),
        ({**half, "anchor/0.bias": torch.zeros(9)}, r"'0.bias' differ in shape: \(5,\) and \(9,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            regularizer.load_state_dict(other)
    assert regularizer.penalty(model) == before


def test_models_that_do_not_fit(build):
    regularizer, model = learned(build)
    with pytest.raises(ValueError, match=r"'2.weight' is remembered but the model has none"):
        regularizer.penalty(model[:2])
    message = r"'2.weight' was remembered with shape \(3, 5\) and has \(2, 5\) now"
    with pytest.raises(ValueError, match=message):
        regularizer.penalty(make_model(outputs=2))
    for models in ([nn.Linear(2, 2)], {"trunk": 3}):
        with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
            build().penalty(models)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_state_follows_the_model_to_its_device(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    expected = regularizer.penalty(model)
    torch.testing.assert_close(regularizer.penalty(model.cuda()).cpu(), expected)
