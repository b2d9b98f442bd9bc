import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pml_incremental.metrics import lone_queries, recall_at_k

labels = st.integers(0, 4)


@given(
    rows=st.integers(0, 5).flatmap(
        lambda width: st.lists(
            st.tuples(labels, st.lists(labels, min_size=width, max_size=width)), min_size=1
        )
    ),
    k=st.integers(1, 7),
)
def test_recall_equals_a_naive_loop(rows, k):
    queries = torch.tensor([query for query, _ in rows])
    found = torch.tensor([nearest for _, nearest in rows]).reshape(len(rows), -1).long()

    expected = [float(query in nearest[:k]) for query, nearest in rows]

    assert recall_at_k(found, queries, k).tolist() == expected
    assert recall_at_k(found, queries, k).dtype == torch.float64


def test_recall_with_another_comparison():
    found, queries = torch.tensor([[5, 2], [9, 9]]), torch.tensor([3, 3])

    near = recall_at_k(found, queries, 2, same_class=lambda a, b: (a - b).abs() <= 1)

    assert near.tolist() == [1.0, 0.0]


@given(st.lists(labels, min_size=1), st.lists(labels, min_size=1))
def test_lone_queries_equal_a_naive_loop(queries, others):
    apart = lone_queries(torch.tensor(queries), torch.tensor(others), self_in_gallery=False)
    gallery = torch.tensor(queries + others)
    within = lone_queries(torch.tensor(queries), gallery, self_in_gallery=True)

    assert apart.tolist() == [query not in others for query in queries]
    assert within.tolist() == [(queries + others).count(query) == 1 for query in queries]


def test_wrong_arguments_are_refused():
    found, queries = torch.zeros(2, 3), torch.zeros(2)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        recall_at_k(found, queries, 0)
    with pytest.raises(ValueError, match="2 rows but query_labels 5"):
        recall_at_k(found, torch.zeros(5), 1)
    with pytest.raises(ValueError, match="gallery_labels is empty"):
        lone_queries(queries, torch.zeros(0), self_in_gallery=False)
