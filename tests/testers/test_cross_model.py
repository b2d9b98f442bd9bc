import math

import numpy as np
import pytest
import torch

from pml_incremental.testers.deployment import cross_model_hits, cross_model_matrices


def naive_hits(queries, gallery, labels, k):
    hits = []
    for q in range(len(labels)):
        others = [g for g in range(len(labels)) if g != q]
        if not any(labels[g] == labels[q] for g in others):
            hits.append(math.nan)
            continue
        others.sort(key=lambda g: float(((queries[q] - gallery[g]) ** 2).sum()))
        hits.append(float(any(labels[g] == labels[q] for g in others[:k])))
    return hits


@pytest.mark.parametrize("k", [1, 3, 50])
def test_hits_equal_naive_loops_and_no_image_finds_itself(k):
    rng = np.random.default_rng(k)
    old = torch.tensor(rng.integers(-2, 3, (30, 3)), dtype=torch.float64)
    labels = torch.tensor(rng.integers(0, 5, 30))
    labels[4] = 99
    for new in (old, old + 0.25, torch.tensor(rng.normal(size=(30, 3)))):
        found = cross_model_hits(new, old, labels, k).tolist()
        assert found == pytest.approx(naive_hits(new, old, labels, k), nan_ok=True)


def test_matrices_of_models_that_turn_away():
    labels = torch.arange(40) % 4
    first = torch.eye(4)[labels] + 0.01 * torch.randn(40, 4)
    permuted = first[:, [1, 2, 3, 0]]
    cross, reindexed = cross_model_matrices([first, first, permuted], labels, [20, 30, 40])
    assert cross[1, 0] == cross[0, 0] == 1
    assert cross[2, 0] == cross[2, 1] == 0
    assert reindexed[2, 0] == 1
    assert np.isnan(cross[np.triu_indices(3, 1)]).all()
    assert np.array_equal(np.diag(cross), np.diag(reindexed))


def test_models_of_other_widths_are_refused():
    with pytest.raises(ValueError, match="only if their embeddings have one width"):
        cross_model_hits(torch.ones(3, 2), torch.ones(3, 4), torch.zeros(3))
    with pytest.raises(ValueError, match="2 models have 1 gallery sizes"):
        cross_model_matrices([torch.ones(3, 2)] * 2, torch.zeros(3), [3])
