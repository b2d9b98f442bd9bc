import math

import numpy as np
import pytest
import torch

from pml_incremental.metrics import open_set_auroc
from pml_incremental.testers.deployment import cross_model_hits, cross_model_matrices, open_set


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


@pytest.fixture
def found():
    """Embeddings and labels of three tasks, with one image alone in its class."""
    generator = torch.Generator().manual_seed(0)
    embeddings = {f"task_{j}": torch.randn(20, 3, generator=generator) for j in (1, 2, 3)}
    labels = {f"task_{j}": 10 * j + torch.arange(20) % 4 for j in (1, 2, 3)}
    labels["task_1"][0] = 99  # so unknown, though seen
    return embeddings, labels


def test_open_set_view_equals_plain_loops(found):
    embeddings, labels = found
    view = open_set(embeddings, labels, ["task_1", "task_3"])
    x = {split: e.double().numpy() for split, e in embeddings.items()}
    gallery = [(s, i) for s in ("task_1", "task_3") for i in range(20)]
    known, unknown = [], []
    for split in x:
        for q in range(20):
            others = [(s, i) for s, i in gallery if (s, i) != (split, q)]
            nearest = min(np.linalg.norm(x[split][q] - x[s][i]) for s, i in others)
            label = labels[split][q]
            there = any(labels[s][i] == label for s, i in others)
            (known if there else unknown).append(nearest)
    assert (view.known, view.unknown) == (len(known), len(unknown)) == (39, 21)
    assert view.auroc == pytest.approx(open_set_auroc(known, unknown))
    assert 0 <= view.fpr_at_95_tpr <= 1


def test_what_has_no_open_set_view_is_said(found):
    embeddings, labels = found
    with pytest.raises(ValueError, match="the gallery is empty"):
        open_set(embeddings, labels, [])
    labels["task_1"][0] = 11
    with pytest.raises(ValueError, match="no unknown queries"):
        open_set(embeddings, labels, list(labels))
