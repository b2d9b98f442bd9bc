from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch
from torch.distributed import HashStore

from pml_incremental.distributed import Processes, own_device, process_group
from pml_incremental.distributed.launch import fresh_store, is_first_process

SOON = timedelta(seconds=10)

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture
def launched(monkeypatch):
    """As the second of two processes of one machine."""
    for name, value in {**TORCHRUN, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_alone_without_a_launcher_or_if_it_started_one(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    with process_group(torch.device("cpu")) as processes:
        assert processes == Processes(0, 1)
        assert not torch.distributed.is_initialized()
    assert is_first_process()
    for name, value in {**TORCHRUN, "WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(name, value)
    with process_group(torch.device("cpu")) as processes:
        assert not processes.is_distributed


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "several processes train on CPUs or CUDA GPUs, not on mps"),
        ("cuda:0", "device cuda:0 is one GPU, but each process needs its own: write cuda"),
        ("cuda", "2 processes on this machine cannot each have one of its 1 GPU: start 1"),
    ],
)
def test_devices_that_cannot_be_shared(device, message):
    with pytest.raises(ValueError, match=message), process_group(torch.device(device)):
        pass
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures("launched")
def test_each_process_has_its_own_gpu():
    assert own_device(torch.device("cuda"), Processes(1, 2)) == torch.device("cuda", 1)
    assert own_device(torch.device("cuda"), Processes()) == torch.device("cuda")
    assert own_device(torch.device("cpu"), Processes(1, 2)) == torch.device("cpu")
    assert not is_first_process()


def meet(store, size=3):
    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(lambda rank: fresh_store(store, rank, size, SOON), range(size)))


def test_processes_share_a_part_that_is_new_in_each_attempt():
    store = HashStore()
    for attempt in range(3):
        parts = meet(store)
        assert not parts[1].check(["address"])
        parts[0].set("address", str(attempt))
        assert [part.get("address") for part in parts] == [str(attempt).encode()] * 3


def test_what_dead_processes_asked_and_answered_counts_for_nothing():
    store = HashStore()
    store.set("question/1", "asked by a dead one")
    store.set("answer/asked by a dead one", "a dead part")
    parts = meet(store, size=2)
    parts[1].set("x", "1")
    assert parts[0].check(["x"])


def test_process_that_does_not_come():
    with pytest.raises(TimeoutError, match=r"processes \[1, 2\] of 3 did not arrive"):
        fresh_store(HashStore(), 0, 3, timedelta(seconds=0.1))
