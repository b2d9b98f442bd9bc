import copy
import math
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils import inference
from pytorch_metric_learning.utils.inference import CustomKNN, FaissKNN

from pml_incremental.metrics import lone_queries
from pml_incremental.testers import RecallCalculator
from pml_incremental.testers.recall_calculator import default_knn

DATA = Path(__file__).parents[1] / "data"
faiss_only = pytest.mark.skipif(default_knn().__class__ is not FaissKNN, reason="needs faiss")


def torch_knn():
    return CustomKNN(LpDistance(normalize_embeddings=False), batch_size=7)


@pytest.fixture(params=[pytest.param(FaissKNN, marks=faiss_only), torch_knn])
def knn(request):
    return request.param()


def naive_metrics(queries, query_labels, gallery, gallery_labels, ks, first_is_query):
    """Every metric in plain loops and float64, over an explicit ranking per query."""
    hits, precisions, r_precisions = {k: [] for k in ks}, [], []
    for q, label in enumerate(query_labels):
        order = [g for g in range(len(gallery)) if not (first_is_query and g == q)]
        order.sort(key=lambda g: ((queries[q] - gallery[g]) ** 2).sum())
        same = [gallery_labels[g] == label for g in order]
        relevant = sum(same)
        if relevant == 0:
            continue
        for k in ks:
            hits[k].append(any(same[:k]))
        at = [sum(same[: i + 1]) / (i + 1) if same[i] else 0.0 for i in range(len(same))]
        precisions.append(sum(at) / relevant)
        r_precisions.append(sum(at[:relevant]) / relevant)
    return {
        **{f"recall_at_{k}": np.mean(hits[k]) for k in ks},
        "mean_average_precision": np.mean(precisions),
        "mean_average_precision_at_r": np.mean(r_precisions),
        "excluded_queries": len(query_labels) - len(precisions),
    }


@pytest.mark.parametrize("first_is_query", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_all_metrics_equal_naive_loops(knn, seed, first_is_query):
    rng = np.random.default_rng(seed)
    gallery, gallery_labels = rng.normal(size=(40, 5)), rng.integers(0, 12, 40)
    if first_is_query:
        queries, query_labels = gallery[:25], gallery_labels[:25]
    else:
        queries, query_labels = rng.normal(size=(25, 5)), rng.integers(0, 16, 25)
    ks = (1, 2, 4, 8)

    found = RecallCalculator(ks, knn_func=knn).get_accuracy(
        queries, query_labels, gallery, gallery_labels, first_is_query
    )
    expected = naive_metrics(queries, query_labels, gallery, gallery_labels, ks, first_is_query)
    assert found == pytest.approx(expected)
    assert all(type(value) is float for value in found.values())


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_recall_equals_the_published_code(knn, case):
    golden = np.load(DATA / "official_losses.npz", allow_pickle=False)
    ks = (1, 2, 4, 8, 16, 32)
    embeddings, labels = golden[f"{case}/retrieval_embeddings"], golden[f"{case}/labels"]
    found = RecallCalculator(ks, knn_func=knn).get_accuracy(embeddings, labels)
    expected = golden[f"{case}/recall_1_2_4_8_16_32"]
    assert [found[f"recall_at_{k}"] for k in ks] == pytest.approx(expected.tolist(), abs=1e-12)


def test_duplicates_do_not_find_themselves_but_each_other(knn):
    embeddings, labels = torch.ones(6, 3), torch.tensor([0, 0, 0, 0, 0, 0])
    found = RecallCalculator(knn_func=knn).get_accuracy(embeddings, labels)
    assert found["recall_at_1"] == found["mean_average_precision"] == 1
    apart = torch.arange(6)
    found = RecallCalculator(knn_func=knn).get_accuracy(embeddings, apart)
    assert math.isnan(found["recall_at_1"])
    assert found["excluded_queries"] == 6


@pytest.mark.parametrize("k", [None, 50, "max_bin_count"])
def test_no_value_exceeds_one_when_k_exceeds_the_gallery(knn, k):
    # The last item is of the only class that is asked for.
    gallery, labels = torch.randn(5, 2), torch.tensor([1, 2, 3, 3, 0])
    queries = torch.randn(4, 2), torch.tensor([0, 0, 0, 9])
    found = RecallCalculator((1, 30), k=k, knn_func=knn).get_accuracy(*queries, gallery, labels)
    assert found["recall_at_30"] == 1
    assert found["mean_average_precision"] <= 1
    assert found["excluded_queries"] == 1


def test_max_bin_count_still_searches_enough_for_the_largest_k(knn):
    points = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [50.0]])
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    calculator = RecallCalculator((1, 4, 5), k="max_bin_count", knn_func=knn)
    found = calculator.get_accuracy(points, labels)
    assert (found["recall_at_1"], found["recall_at_4"], found["recall_at_5"]) == (0, 0, 1)


def test_one_image_alone_gives_no_metric_and_no_error(knn):
    found = RecallCalculator(knn_func=knn).get_accuracy(torch.ones(1, 2), torch.tensor([3]))
    assert found.pop("excluded_queries") == 1
    assert all(math.isnan(value) for value in found.values())


def test_the_count_of_excluded_queries_is_that_of_lone_queries():
    labels = torch.randint(0, 30, (40,), generator=torch.Generator().manual_seed(0))
    found = RecallCalculator().get_accuracy(torch.randn(40, 3), labels)
    assert found["excluded_queries"] == lone_queries(labels, labels, True).sum() > 0


def test_metrics_by_default_and_by_name():
    names = {"recall_at_1", "recall_at_3", "mean_average_precision", "excluded_queries"}
    found = RecallCalculator((1, 3)).get_curr_metrics()
    assert set(found) == names | {"mean_average_precision_at_r"}
    assert "recall_at_1" not in RecallCalculator(exclude=["recall_at_1"]).get_curr_metrics()
    points, labels = torch.randn(12, 3), torch.arange(12) % 3
    named = RecallCalculator(include=("recall_at_1", "precision_at_1", "mean_reciprocal_rank"))
    found = named.get_accuracy(points, labels)
    assert found["recall_at_1"] == pytest.approx(found["precision_at_1"])
    assert RecallCalculator(include=("mean_reciprocal_rank",)).get_accuracy(points, labels)
    with pytest.raises(ValueError, match=r"must be one or more of.*recall_at_1'"):
        RecallCalculator(include=("recall_at_16",), ks=(1,))


def test_averages_per_class_and_labels_compared_by_the_users_function():
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1], [0.2], [9.0]])
    labels = torch.tensor([0, 0, 0, 1, 1, 2])
    options = {"include": ("recall_at_1",)}
    per_class = RecallCalculator(return_per_class=True, **options).get_accuracy(points, labels)
    mean = RecallCalculator(avg_of_avgs=True, **options).get_accuracy(points, labels)
    assert per_class["recall_at_1"] == pytest.approx([2 / 3, 0])
    assert mean["recall_at_1"] == pytest.approx(1 / 3)
    near = RecallCalculator((1,), label_comparison_fn=lambda a, b: (a - b).abs() <= 1, **options)
    points = torch.tensor([[0.0], [1.0], [10.0], [11.5]])
    assert near.get_accuracy(points, torch.tensor([4, 5, 7, 9])) == {"recall_at_1": 1.0}


def test_without_faiss_torch_searches(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    monkeypatch.delattr(inference, "faiss", raising=False)
    calculator = RecallCalculator()
    assert isinstance(calculator.knn_func, CustomKNN)
    points = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    assert calculator.get_accuracy(points, torch.tensor([0, 0, 1, 1]))["recall_at_1"] == 0.5


@faiss_only
def test_with_faiss_faiss_searches():
    assert isinstance(RecallCalculator().knn_func, FaissKNN)


def test_it_can_be_copied_and_sent_to_another_process():
    points, labels = torch.randn(12, 3), torch.arange(12) % 3
    calculator = RecallCalculator((1, 2), device="cpu")
    expected = calculator.get_accuracy(points, labels)
    assert copy.deepcopy(calculator).get_accuracy(points, labels) == expected
    assert pickle.loads(pickle.dumps(calculator)).get_accuracy(points, labels) == expected


def test_labels_that_float32_would_merge_are_refused():
    points = torch.tensor([[0.0], [0.1], [5.0], [5.1]])
    largest = 2**24
    fine = torch.tensor([largest, largest, largest - 1, largest - 1])
    assert RecallCalculator().get_accuracy(points, fine)["recall_at_1"] == 1
    with pytest.raises(ValueError, match=r"labels of the queries go up to 16777217.*number the c"):
        RecallCalculator().get_accuracy(points, fine + 1)
    with pytest.raises(ValueError, match="labels of the gallery go up to 30000000"):
        RecallCalculator().get_accuracy(points, fine, points, np.full(4, 30_000_000))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_embeddings_that_are_not_finite_are_refused(bad):
    points, labels = torch.randn(9, 2), torch.zeros(9)
    points[[3, 5], 1] = bad
    with pytest.raises(ValueError, match=r"2 of 9 embeddings of the queries .*\(rows 3, 5\)"):
        RecallCalculator().get_accuracy(points, labels)
    points[:] = bad
    with pytest.raises(ValueError, match=r"9 of 9 .* gallery .*\(rows 0, 1, 2, 3, 4, \.\.\.\)"):
        RecallCalculator().get_accuracy(torch.ones(9, 2), labels, points, labels)
    some, none = (torch.ones(2, 2), torch.zeros(2)), (torch.ones(0, 2), torch.zeros(0))
    with pytest.raises(ValueError, match="embeddings of the queries are empty"):
        RecallCalculator().get_accuracy(*none, *some)
    with pytest.raises(ValueError, match="embeddings of the gallery are empty"):
        RecallCalculator().get_accuracy(*some, *none)


def test_wrong_ks_are_refused():
    with pytest.raises(ValueError, match=r"ks must hold whole numbers from 1, got \(\)"):
        RecallCalculator(ks=())
    with pytest.raises(ValueError, match=r"got \(0, 1\)"):
        RecallCalculator(ks=(0, 1))
    with pytest.raises(ValueError, match="k = 4 neighbours cannot give Recall@8"):
        RecallCalculator(k=4)
