import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import BatchSampler, DataLoader, TensorDataset, WeightedRandomSampler

from pml_incremental.trainers.batches import BatchOrder, in_batches
from pml_incremental.trainers.training_state import random_state, restore_random_state

LABELS = torch.arange(24) % 4
IMAGES = TensorDataset(torch.arange(24))
SAMPLERS = {
    "random": lambda: None,
    "per class": lambda: MPerClassSampler(LABELS, m=2, batch_size=8, length_before_new_iter=24),
    "weighted": lambda: WeightedRandomSampler(torch.ones(24), 24),
    "of batches": lambda: BatchSampler(WeightedRandomSampler(torch.ones(24), 24), 8, True),
}


def order_of(sampler):
    return BatchOrder(in_batches(sampler, IMAGES, 8))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("taken", [1, 2, 3])
def test_order_goes_on_within_and_after_a_pass(name, taken):
    torch.manual_seed(0)
    order = order_of(SAMPLERS[name]())
    batches = iter(order)
    for _ in range(taken):
        next(batches)
        order.take()
    state, streams = order.state_dict(), random_state()
    expected = [*batches, *order, *order]
    later = order_of(SAMPLERS[name]())
    later.load_state_dict(state)
    restore_random_state(streams)
    assert [*later, *later, *later] == expected


@pytest.mark.parametrize("name", ["random", "per class"])
def test_batches_are_those_of_a_plain_loader(name):
    loaders = [
        DataLoader(IMAGES, batch_sampler=order_of(SAMPLERS[name]())),
        DataLoader(IMAGES, 8, shuffle=name == "random", sampler=SAMPLERS[name](), drop_last=True),
    ]
    found = []
    for loader in loaders:
        torch.manual_seed(5)
        restore_random_state({**random_state(), "numpy": numpy_seeded()})
        found.append([batch[0].tolist() for _ in range(2) for batch in loader])
    assert found[0] == found[1]


def numpy_seeded():
    import numpy as np

    np.random.seed(5)
    return np.random.get_state()


def test_back_to_a_mark_within_a_pass_and_before_one():
    torch.manual_seed(0)
    order = order_of(SAMPLERS["per class"]())
    batches = iter(order)
    next(batches)
    order.take()
    mark = order.mark()
    next(batches)
    order.take()
    order.back_to(mark)
    assert order.taken == 1
    order.taken = 3
    before, mark = order.state_dict(), order.mark()
    next(iter(order))
    order.take()
    order.back_to(mark)
    after = order.state_dict()
    assert torch.equal(after["order"], before["order"])
    assert (after["taken"], after["samplers"]) == (3, before["samplers"])


def test_seeds_depend_on_place_and_pass():
    torch.manual_seed(0)
    order = BatchOrder(in_batches(None, IMAGES, 8), seeded=True)
    seeds = [seed for _ in range(2) for batch in order for _, seed in batch]
    assert len(set(seeds)) == 48
    assert min(seeds) >= 0
