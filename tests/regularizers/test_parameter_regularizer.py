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
    return [
        (
            torch.randn(8, 4, generator=generator, dtype=torch.float64),
            torch.randn(8, 3, generator=generator, dtype=torch.float64),
        )
        for _ in range(count)
    ]


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


def test_zero_before_the_first_task_ends(build):
    penalty = build().penalty(make_model())
    assert penalty.shape == ()
    assert penalty == 0


def test_zero_with_zero_gradient_right_after_the_first_task(build):
    regularizer, model = learned(build)
    model.zero_grad()
    penalty = regularizer.penalty(model)
    penalty.backward()
    assert penalty == 0
    assert all(parameter.grad.eq(0).all() for parameter in model.parameters())


def test_is_the_weighted_sum_of_squares(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    state, expected = regularizer.state_dict(), 0.0
    for name, parameter in model.named_parameters():
        importance, anchor = state[f"importance/{name}"], state[f"anchor/{name}"]
        assert importance.min() >= 0
        for weight, now, then in zip(
            importance.flatten(), parameter.flatten(), anchor.flatten(), strict=True
        ):
            expected += regularizer.factor * weight * (now - then) ** 2
    torch.testing.assert_close(regularizer.penalty(model), expected)
    assert expected > 0


def test_grows_with_the_square_of_the_distance(build):
    regularizer, model = learned(build)
    near, far = copy.deepcopy(model), copy.deepcopy(model)
    move(near, 0.1)
    move(far, 0.3)
    torch.testing.assert_close(regularizer.penalty(far), 9 * regularizer.penalty(near))


def test_gradients_are_those_of_the_formula(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    model.zero_grad()
    penalty = regularizer.penalty(model)
    penalty *= 3
    penalty.backward()
    state = regularizer.state_dict()
    for name, parameter in model.named_parameters():
        pull = state[f"importance/{name}"] * (parameter.detach() - state[f"anchor/{name}"])
        torch.testing.assert_close(parameter.grad, 3 * 2 * regularizer.factor * pull)


def test_holds_important_weights_nearer_while_the_next_task_is_learned(build):
    regularizer, model = learned(build)
    # As strong for all: a penalty of 1 for the same random move.
    probe = copy.deepcopy(model)
    move(probe, 0.3)
    strength = 1 / regularizer.penalty(probe).item()
    importance = regularizer.state_dict()
    distances, second_task = {}, make_batches(seed=2, count=60)
    for name, weight in (("free", 0.0), ("held", strength)):
        student, memory = copy.deepcopy(model), copy.deepcopy(regularizer)
        train(student, second_task, memory, weight)
        distances[name] = sum(
            (importance[f"importance/{n}"] * (p - importance[f"anchor/{n}"]).square()).sum()
            for n, p in student.named_parameters()
        ).item()
        assert loss_on(student, second_task[0]) < loss_on(model, second_task[0])
    assert distances["held"] < 0.5 * distances["free"]


def test_same_data_give_the_same_state(build):
    first, second = (learned(build)[0].state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


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


def test_a_wrapped_model_keeps_its_names(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    assert regularizer.penalty(nn.DataParallel(model)) == regularizer.penalty(model)


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
    first, second = regularizer.state_dict(), loaded.state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_state_is_a_copy(build):
    regularizer, model = learned(build)
    for tensor in regularizer.state_dict().values():
        tensor.fill_(5)
    assert regularizer.penalty(model) == 0


def test_loading_names_of_another_kind(build):
    with pytest.raises(ValueError, match=r"cannot load 'fisher/w': its names begin with imp"):
        build().load_state_dict({"fisher/w": torch.ones(1)})


def test_loading_half_a_parameter_changes_nothing(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    before = regularizer.penalty(model)
    state = regularizer.state_dict()
    del state["anchor/0.bias"]
    with pytest.raises(ValueError, match=r"anchor/0.bias is missing"):
        regularizer.load_state_dict(state)
    assert regularizer.penalty(model) == before


def test_loading_shapes_that_differ(build):
    regularizer, _ = learned(build)
    state = regularizer.state_dict()
    state["anchor/0.bias"] = torch.zeros(9)
    with pytest.raises(ValueError, match=r"'0.bias' differ in shape: \(5,\) and \(9,\)"):
        build().load_state_dict(state)


def test_model_without_a_parameter(build):
    regularizer, model = learned(build)
    with pytest.raises(ValueError, match=r"'2.weight' is remembered but the model has none"):
        regularizer.penalty(model[:2])


def test_model_that_shrank(build):
    regularizer, _ = learned(build)
    message = r"'2.weight' was remembered with shape \(3, 5\) and has \(2, 5\) now"
    with pytest.raises(ValueError, match=message):
        regularizer.penalty(make_model(outputs=2))


@pytest.mark.parametrize("models", [[nn.Linear(2, 2)], {"trunk": 3}])
def test_models_of_another_type(build, models):
    with pytest.raises(TypeError, match=r"must be a torch\.nn\.Module"):
        build().penalty(models)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_state_follows_the_model_to_its_device(build):
    regularizer, model = learned(build)
    move(model, 0.1)
    expected = regularizer.penalty(model)
    torch.testing.assert_close(regularizer.penalty(model.cuda()).cpu(), expected)
