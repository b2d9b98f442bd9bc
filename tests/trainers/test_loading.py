"""Processes that load batches ahead."""

import pytest
import torch
from torch.utils.data import BatchSampler, Dataset, RandomSampler

from pml_incremental.trainers.batches import BatchOrder, training_loader

CPU = torch.device("cpu")


class WhoLoaded(Dataset):
    """Each item says which process made it."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        import os

        return torch.tensor([index, os.getpid()]), torch.rand(1)


def order():
    return BatchOrder(BatchSampler(RandomSampler(WhoLoaded()), 3, drop_last=True), seeded=True)


def test_processes_stay_from_pass_to_pass():
    loader = training_loader(WhoLoaded(), order(), 2, None, None, CPU)
    processes = [{int(pid) for batch, _ in loader for pid in batch[:, 1]} for _ in range(2)]
    assert len(processes[0]) == 2
    assert processes[0] == processes[1]


def test_going_on_within_a_pass_gives_the_same_images():
    """Though the processes had loaded further ahead than was taken."""
    torch.manual_seed(0)
    batches = order()
    loader = training_loader(WhoLoaded(), batches, 2, 4, None, CPU)
    iterator = iter(loader)
    next(iterator)
    batches.take()
    state, stream = batches.state_dict(), torch.get_rng_state()

    def rest(iterator, loader):
        found = [drawn for _, drawn in iterator]
        found += [drawn for _, drawn in loader]
        return torch.stack(found)

    expected = rest(iterator, loader)
    later = order()
    other = training_loader(WhoLoaded(), later, 2, 1, None, CPU)
    begun = iter(other)
    next(begun)  # what was begun is dropped
    later.load_state_dict(state)
    goes_on = iter(other)
    torch.set_rng_state(stream)
    assert torch.equal(rest(goes_on, other), expected)


def test_training_goes_on_to_the_bit(assert_resumes):
    assert_resumes(dataloader_num_workers=1, prefetch_factor=3)


def test_no_process_is_left_after_training(build):
    import multiprocessing

    trainer = build(dataloader_num_workers=1)
    trainer.train(num_epochs=2)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(("workers", "factor"), [(0, 2), (1, 0)])
def test_loading_ahead_needs_processes(workers, factor):
    with pytest.raises(ValueError, match="prefetch_factor must be at least 1, and needs"):
        training_loader(WhoLoaded(), order(), workers, factor, None, CPU)
