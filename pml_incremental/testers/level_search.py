"""PML's evaluation of one query split, by one search for each level of labels."""

from __future__ import annotations

from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from torch import Tensor

from pml_incremental.testers.retrieval_search import RetrievalSearch
from pml_incremental.testers.split_search import search_references, search_splits


def search_levels(
    tester: GlobalEmbeddingSpaceTester,
    search: RetrievalSearch,
    embedded: dict[str, tuple[Tensor, Tensor]],
    query: str,
    references: list[str],
) -> tuple[dict[str, float], dict[str, float]]:
    """Values in the reference splits and in the joint gallery, named as PML names them."""
    tester.label_levels = tester.label_levels_to_evaluate(embedded[query][1])
    own: dict[str, float] = {}
    joint: dict[str, float] = {}
    for level in tester.label_levels:
        level_of = {split: (x, y[:, level]) for split, (x, y) in embedded.items()}
        found = search_splits(search, level_of, list(embedded), [query]).values
        in_references = found["own"][query]
        if references != [query]:
            in_references = search_references(search, level_of, query, references)
        for target, values in ((own, in_references), (joint, found["joint"][query])):
            for metric, value in values.items():
                target[tester.accuracies_keyname(metric, label_hierarchy_level=level)] = value
    if len(tester.label_levels) > 1:
        for target in (own, joint):
            tester.calculate_average_accuracies(target, search.metrics, tester.label_levels)
    return own, joint
