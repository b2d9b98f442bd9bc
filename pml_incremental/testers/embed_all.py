"""Embeddings of all images of a loader, by any number of processes, in one place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm

from pml_incremental.distributed import Processes
from pml_incremental.distributed.shares import receive_rows, send_rows, share_of_loader
from pml_incremental.testers.rows_by_batch import RowsByBatch


@torch.no_grad()
def embed_all(
    loader: DataLoader[Any],
    embed: Callable[[Any], tuple[Tensor, Tensor]],
    processes: Processes,
    folder: str | None,
    progress: bool,
) -> tuple[Tensor, Tensor]:
    """Embeddings (N, d) and labels (N, levels) of all images, in order.

    Args:
        loader: of all images, in order.
        embed: a batch's embeddings (B, d) and labels (B, levels).
        processes: that share the images.
        folder: keep the embeddings there, in a mapped file; None for memory.
        progress: show a progress bar.

    Returns:
        Both, in the first process; empty ones in all others.
    """
    own = share_of_loader(loader, processes)
    images: Any = (loader if processes.is_first else own).dataset
    embeddings, labels = RowsByBatch(len(images), folder), RowsByBatch(len(images))
    for batch in tqdm(own, desc="embedding", disable=not progress):
        for rows, found in zip((embeddings, labels), embed(batch), strict=True):
            rows.add(found)
    for rows in (embeddings, labels):
        if not processes.is_first and rows.filled:
            send_rows(rows.rows())
        elif processes.several and processes.is_first:
            for block in receive_rows(rows.rows(), loader, processes):
                rows.add(block)
    if not processes.is_first:
        return torch.empty(0, 0), torch.empty(0, 0)
    return embeddings.rows(), labels.rows()
