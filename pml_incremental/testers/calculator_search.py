"""Values by a PML accuracy calculator: one search for each split and gallery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import Tensor

from pml_incremental.testers.evaluation import Values
from pml_incremental.testers.split_search import query_first


def search_by_calculator(
    calculator: AccuracyCalculator,
    embedded: Mapping[str, tuple[Tensor, Tensor]],
    query: str,
    gallery: Iterable[str],
) -> Values:
    """All metrics of a calculator, for one split's queries in the gallery of some splits.

    Args:
        calculator: searches and measures.
        embedded: split -> embeddings (N, d) and labels (N,).
        query: the split that asks.
        gallery: the splits that are searched, the query's own among them.
    """
    # PML leaves out the query by its place: its split must come first.
    parts = [embedded[split] for split in query_first(query, gallery)]
    items, item_labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    values: Values = calculator.get_accuracy(
        *embedded[query], items, item_labels, ref_includes_query=True
    )
    return values
