from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch.distributed import HashStore

from pml_incremental.distributed.launch import fresh_store

SOON = timedelta(seconds=10)


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
