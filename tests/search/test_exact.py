import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_incremental.metrics import (
    NOT_FOUND,
    average_precision,
    average_precision_at_r,
    hit_at_k,
    match_ranks,
    precision_at_k,
    r_precision,
    reciprocal_rank,
)
from pml_incremental.search import ExactSearch, Lookup


def look_up(search, queries, galleries, depths):
    lookups = [Lookup(queries, g, depth) for g, depth in zip(galleries, depths, strict=True)]
    return search.rank_matches(lookups)


def naive_order(points, query, gallery):
    """The ranking of one query in plain float64; of equal distances the first item wins."""
    points = points.double().numpy()
    others = [g for g in gallery if g != query]
    distances = [float(((points[query] - points[g]) ** 2).sum()) for g in others]
    return [g for _, g in sorted(zip(distances, others, strict=True))]


def naive_values(same, ks):
    """Every metric of one query from the flags of its ranking; None if nothing can be found."""
    relevant = sum(same)
    if relevant == 0:
        return None
    at = [sum(same[: i + 1]) / (i + 1) if same[i] else 0.0 for i in range(len(same))]
    return {
        **{f"recall_{k}": float(any(same[:k])) for k in ks},
        **{f"precision_{k}": sum(same[:k]) / min(k, len(same)) for k in ks},
        "map": sum(at) / relevant,
        "map_at_r": sum(at[:relevant]) / relevant,
        "r_precision": sum(same[:relevant]) / relevant,
        "mrr": 1 / (same.index(True) + 1),
    }


def values(shallow, whole, ks):
    found = {
        **{f"recall_{k}": hit_at_k(shallow, k) for k in ks},
        **{f"precision_{k}": precision_at_k(shallow, k) for k in ks},
        "map": average_precision(whole),
        "map_at_r": average_precision_at_r(whole),
        "r_precision": r_precision(whole),
        "mrr": reciprocal_rank(whole),
    }
    return [{name: float(column[q]) for name, column in found.items()} for q in range(len(shallow))]


def hard_set(seed, size=60, d=5):
    """Ties on a grid, duplicates within and across classes, and classes of one image."""
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.integers(-2, 3, (size, d)), dtype=torch.float32)
    points[size // 2 : size // 2 + 12] = points[0]
    labels = torch.tensor(rng.integers(0, 9, size))
    labels[-4:] = torch.arange(4) + 2**40
    return points, labels


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", [1, 10_000, 2**30])
def test_all_metrics_equal_plain_float64_loops_with_ties_and_duplicates(seed, memory):
    points, labels = hard_set(seed)
    ks = (1, 2, 4, 8, 100)
    search = ExactSearch(points, labels, memory=memory)
    queries, galleries = range(20, 45), [range(20, 45), range(60), range(50)]
    shallow = look_up(search, queries, galleries, depths=[100, 100, 100])
    whole = look_up(search, queries, galleries, depths=[None, None, None])
    for gallery, few, all_ in zip(galleries, shallow, whole, strict=True):
        found = values(few, all_, ks)
        for place, query in enumerate(queries):
            same = [bool(labels[g] == labels[query]) for g in naive_order(points, query, gallery)]
            expected = naive_values(same, ks)
            assert few.matches[place] == sum(same)
            if expected is None:
                assert not all_.answerable[place]
                assert set(found[place].values()) == {0.0}
            else:
                assert found[place] == pytest.approx(expected, abs=1e-12)


@given(
    seed=st.integers(0, 10_000),
    size=st.integers(2, 40),
    d=st.integers(1, 6),
    levels=st.sampled_from([1, 2, 5, 1000]),
    shift=st.sampled_from([0.0, 1e3]),
)
@settings(max_examples=60, deadline=None)
def test_orders_and_places_are_those_of_float64(seed, size, d, levels, shift):
    rng = np.random.default_rng(seed)
    points = torch.tensor(rng.integers(0, levels, (size, d)) / 8 + shift, dtype=torch.float32)
    labels = torch.tensor(rng.integers(0, 3, size))
    search = ExactSearch(points, labels, memory=2000)
    every = range(size)
    orders = [naive_order(points, query, every) for query in every]
    for k in (1, 3, size):
        assert search.nearest(every, every, k).tolist() == [order[:k] for order in orders]
    (whole,) = look_up(search, every, [every], depths=[None])
    for query, order in enumerate(orders):
        places = [i for i, g in enumerate(order, start=1) if labels[g] == labels[query]]
        assert [r for r in whole.ranks[query].tolist() if r != NOT_FOUND] == places


def test_near_duplicates_that_float32_cannot_tell_apart():
    rng = np.random.default_rng(0)
    points = torch.tensor(1 + 1e-7 * rng.normal(size=(200, 64)), dtype=torch.float64)
    points[100:] += torch.tensor(rng.normal(size=64))
    points[::7] = points[0]
    search = ExactSearch(points, torch.zeros(200, dtype=torch.int64))
    expected = [naive_order(points, query, range(200))[:5] for query in range(50)]
    assert search.nearest(range(50), range(200), 5).tolist() == expected


def test_half_precision_and_one_vector_for_all_are_compared_exactly_too():
    points = torch.arange(2040, 2049, dtype=torch.float16)[:, None]
    search = ExactSearch(points, torch.zeros(9, dtype=torch.int64))
    assert search.nearest(range(8, 9), range(9), 3).tolist() == [[7, 6, 5]]
    search = ExactSearch(torch.ones(300, 4), torch.arange(300) % 3, memory=60_000)
    found = search.nearest(range(300), range(300), 2)[[0, 1, 299]]
    assert found.tolist() == [[1, 2], [0, 2], [0, 1]]


def test_many_items_are_searched_by_groups():
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(5000, 8, generator=generator))
    points[4000:4100] = points[:100]
    search = ExactSearch(points, torch.arange(5000) % 50)
    expected = [naive_order(points, query, range(3, 5000))[:12] for query in range(90, 110)]
    assert search.nearest(range(90, 110), range(3, 5000), 12).tolist() == expected


@pytest.fixture(scope="module")
def many():
    """Many tiles' worth of points in classes, with duplicates near and far from each other."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(420) // 7
    points = torch.randn(60, 6, generator=generator)[labels]
    points += 0.5 * torch.randn(420, 6, generator=generator)
    points[400:] = points[:20]
    points[100:130] = points[100]
    return points, labels


@pytest.mark.parametrize("memory", [1, 60_000, 400_000, 2**30])
@pytest.mark.parametrize("depth", [3, 40])
def test_tiles_of_any_size_give_the_rankings_of_plain_loops(many, memory, depth):
    points, labels = many
    lookups = [
        Lookup(range(420), range(420), depth),
        Lookup(range(70), range(70), depth),
        Lookup(range(70, 300), range(70, 300), depth),
        Lookup(range(300, 420), range(250), depth),
        Lookup(range(5, 6), range(420), None),
    ]
    wide, mode = points.double(), "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(wide, wide, compute_mode=mode).fill_diagonal_(torch.inf)
    # In parts, and mapped from nowhere: the same.
    for parts in (points, [points[:150], points[150:151], points[151:]]):
        search = ExactSearch(parts, labels, memory=memory)
        for lookup, found in zip(lookups, search.rank_matches(lookups), strict=True):
            asked, gallery = slice(lookup.queries.start, lookup.queries.stop), lookup.gallery
            order = distances[asked, gallery.start : gallery.stop].argsort(dim=1, stable=True)
            depth_or_all = lookup.available if lookup.depth is None else lookup.depth
            order = order[:, :depth_or_all] + gallery.start
            hits = labels[order] == labels[asked, None]
            expected = match_ranks(hits, found.matches, lookup.available)
            assert torch.equal(found.ranks, expected.ranks)
            if lookup.depth is not None:
                nearest = search.nearest(lookup.queries, gallery, depth)
                assert torch.equal(nearest, order)


def test_queries_outside_the_gallery_find_all_of_it():
    points, labels = torch.tensor([[0.0], [1.0], [0.0], [1.2]]), torch.tensor([5, 6, 6, 5])
    search = ExactSearch(points, labels)
    assert search.nearest(range(2), range(2, 4), 9).tolist() == [[2, 3], [3, 2]]
    (found,) = look_up(search, range(2), [range(2, 4)], depths=[None])
    assert (found.ranks.tolist(), found.gallery_size) == ([[2], [2]], 2)


def test_one_image_alone_finds_nothing():
    search = ExactSearch(torch.ones(1, 3), torch.tensor([4]))
    for depth in (None, 3):
        (found,) = look_up(search, range(1), [range(1)], depths=[depth])
        assert found.matches.tolist() == [0]
        assert hit_at_k(found, 5).tolist() == [0.0]
    assert search.nearest(range(1), range(1), 3).shape == (1, 0)


def test_wrong_arguments_are_refused():
    points, labels = torch.randn(6, 2), torch.zeros(6, dtype=torch.int64)
    search = ExactSearch(points, labels)
    with pytest.raises(ValueError, match="6 embeddings have 5 labels"):
        ExactSearch(points, labels[:5])
    with pytest.raises(ValueError, match="positive number of bytes, got 0"):
        ExactSearch(points, labels, memory=0)
    with pytest.raises(ValueError, match="gallery must be rows within 0 to 6"):
        search.nearest(range(2), range(3, 7), 1)
    with pytest.raises(ValueError, match=r"queries must be rows .* at least one"):
        search.nearest(range(2, 2), range(6), 1)
    with pytest.raises(ValueError, match="must hold all of the queries"):
        search.nearest(range(4), range(3), 1)
    with pytest.raises(ValueError, match="k must be at least 1"):
        search.nearest(range(4), range(6), 0)
    points[3, 0] = float("nan")
    with pytest.raises(ValueError, match="1 embeddings are not finite, the first at row 3"):
        ExactSearch(points, labels).nearest(range(4), range(6), 1)
    with pytest.raises(ValueError, match=r"too large to be compared in torch\.float32"):
        ExactSearch(torch.tensor([[1e30], [-1e30]]), labels[:2]).nearest(range(2), range(2), 1)


def test_float32_products_are_computed_in_full(monkeypatch):
    before = torch.get_float32_matmul_precision()
    points = torch.nn.functional.normalize(torch.randn(300, 32))
    expected = ExactSearch(points, torch.zeros(300)).nearest(range(300), range(300), 3)
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu"):
            found = ExactSearch(points, torch.zeros(300)).nearest(range(300), range(300), 3)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(found, expected)
