import multiprocessing
import os

import numpy as np
import pytest
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from pml_incremental.trainers.batches import BatchOrder, in_batches, training_loader
from pml_incremental.trainers.training_state import random_state, restore_random_state

CPU = torch.device("cpu")
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
    found = []
    for loader in (
        DataLoader(IMAGES, batch_sampler=order_of(SAMPLERS[name]())),
        DataLoader(IMAGES, 8, shuffle=name == "random", sampler=SAMPLERS[name](), drop_last=True),
    ):
        torch.manual_seed(5)
        np.random.seed(5)
        found.append([batch[0].tolist() for _ in range(2) for batch in loader])
    assert found[0] == found[1]


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


class WhoLoaded(Dataset):
    """Each item says which process made it."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return torch.tensor([index, os.getpid()]), torch.rand(1)


def loading(workers=2, factor=None):
    order = BatchOrder(BatchSampler(RandomSampler(WhoLoaded()), 3, drop_last=True), seeded=True)
    return order, training_loader(WhoLoaded(), order, workers, factor, None, CPU)


def test_processes_stay_from_pass_to_pass():
    _, loader = loading()
    processes = [{int(pid) for batch, _ in loader for pid in batch[:, 1]} for _ in range(2)]
    assert len(processes[0]) == 2
    assert processes[0] == processes[1]


def test_going_on_within_a_pass_gives_the_same_images():
    """Though the processes had loaded further ahead than was taken."""
    torch.manual_seed(0)
    batches, loader = loading(factor=4)
    iterator = iter(loader)
    next(iterator)
    batches.take()
    state, stream = batches.state_dict(), torch.get_rng_state()
    expected = [float(x) for rest in (iterator, loader) for _, drawn in rest for x in drawn]
    later, other = loading(factor=1)
    next(iter(other))  # what was begun is dropped
    later.load_state_dict(state)
    goes_on = iter(other)
    torch.set_rng_state(stream)
    assert [float(x) for rest in (goes_on, other) for _, drawn in rest for x in drawn] == expected


def test_training_goes_on_to_the_bit_and_leaves_no_process(assert_resumes):
    assert_resumes(dataloader_num_workers=1, prefetch_factor=3)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("workers", "factor"), [(0, 2), (1, 0)])
def test_loading_ahead_needs_processes(workers, factor):
    with pytest.raises(ValueError, match="prefetch_factor must be at least 1, and needs"):
        loading(workers, factor)
