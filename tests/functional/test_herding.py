import pytest
import torch

from pml_incremental.functional import herding_order


def naive(embeddings, count):
    features = [row / row.norm() for row in embeddings]
    mean = sum(features) / len(features)
    chosen = []
    while len(chosen) < min(count, len(features)):
        k = len(chosen) + 1
        total = sum((features[i] for i in chosen), torch.zeros_like(mean))
        free = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(free, key=lambda i: float((mean - (total + features[i]) / k).norm())))
    return chosen


@pytest.mark.parametrize("count", [1, 4, 20])
def test_equals_a_naive_loop(count):
    torch.manual_seed(count)
    embeddings = torch.randn(9, 5, dtype=torch.float64)
    assert herding_order(embeddings, count).tolist() == naive(embeddings, count)


def test_a_list_may_be_cut():
    embeddings = torch.randn(12, 4)
    assert torch.equal(herding_order(embeddings, 5), herding_order(embeddings, 12)[:5])


@pytest.mark.parametrize(
    ("embeddings", "count", "message"),
    [
        (torch.zeros(3, 2), 0, "count must be at least 1"),
        (torch.zeros(0, 2), 1, "with N > 0"),
        (torch.zeros(3), 1, r"shape \(N, d\)"),
    ],
)
def test_bad_input(embeddings, count, message):
    with pytest.raises(ValueError, match=message):
        herding_order(embeddings, count)
