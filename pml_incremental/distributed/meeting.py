"""A store that holds nothing of processes that are gone."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

_PAUSE = 0.05


def fresh_store(store: Store, rank: int, size: int, patience: timedelta) -> Store:
    """A part of a store that the processes now running share with no earlier ones.

    torchrun keeps one store when it restarts processes, and the addresses of those that are gone
    stay in it (PyTorch issue 135712). The first process therefore names a new part, and answers
    each other process's own question until that one has confirmed it: what dead processes have
    asked or answered counts for nothing.

    Args:
        store: that all can reach.
        rank: of this process.
        size: how many processes there are.
        patience: how long to wait for the others.

    Returns:
        The part.

    Raises:
        TimeoutError: in the first process, if another does not come; in the others, torch's error.

    Example:
        >>> from torch.distributed import HashStore
        >>> store = HashStore()
        >>> first, second = (fresh_store(store, 0, 1, timedelta(seconds=1)) for _ in range(2))
        >>> first.set("address", "here")
        >>> second.check(["address"])
        False
    """
    own = uuid.uuid4().hex
    if rank == 0:
        _answer_all(store, own, size, patience)
        return PrefixStore(own, store)
    store.set(f"question/{rank}", own)
    part = store.get(f"answer/{own}").decode()
    store.set(f"confirmed/{part}/{rank}", "")
    return PrefixStore(part, store)


def _answer_all(store: Store, part: str, size: int, patience: timedelta) -> None:
    end = time.monotonic() + patience.total_seconds()
    missing = list(range(1, size))
    while missing := [rank for rank in missing if not store.check([f"confirmed/{part}/{rank}"])]:
        for rank in missing:
            if store.check([f"question/{rank}"]):
                question = store.get(f"question/{rank}").decode()
                store.set(f"answer/{question}", part)
        if time.monotonic() > end:
            raise TimeoutError(f"processes {missing} of {size} have not come in {patience}")
        time.sleep(_PAUSE)
