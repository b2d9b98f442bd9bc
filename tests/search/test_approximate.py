import sys

import pytest
import torch

from pml_incremental.extras import MissingExtraError
from pml_incremental.metrics import hit_at_k
from pml_incremental.search import ExactSearch, IndexSearch, Lookup

pytest.importorskip("faiss")


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 30
    centres = torch.randn(30, 8, generator=generator)
    return centres[labels] + torch.randn(600, 8, generator=generator), labels


GALLERIES = [range(100, 250), range(600), range(400)]


@pytest.mark.parametrize("factory", ["Flat", "IVF4,Flat"])
def test_an_index_that_looks_everywhere_finds_what_exact_search_finds(data, factory):
    nprobe = 4 if factory.startswith("IVF") else None
    index, exact = IndexSearch(*data, factory, nprobe), ExactSearch(*data)
    queries = range(100, 250)
    for gallery in GALLERIES:
        assert torch.equal(index.nearest(queries, gallery, 9), exact.nearest(queries, gallery, 9))
    lookups = [Lookup(queries, gallery, 9) for gallery in GALLERIES]
    found, expected = index.rank_matches(lookups), exact.rank_matches(lookups)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(hit_at_k(ours, 4), hit_at_k(theirs, 4))
        assert torch.equal(ours.matches, theirs.matches)
    assert index.measured_recall(range(600), 5, sample=50) == 1


@pytest.mark.parametrize("factory", ["IVF16,Flat", "HNSW4"])
def test_recall_of_a_coarse_index_is_measured(data, factory):
    index, exact = IndexSearch(*data, factory), ExactSearch(*data)
    measured = index.measured_recall(range(600), 5)
    found, expected = (s.nearest(range(600), range(600), 5).tolist() for s in (index, exact))
    shares = [len(set(a) & set(b)) / 5 for a, b in zip(found, expected, strict=True)]
    assert measured == pytest.approx(sum(shares) / 600)
    assert 0 < measured < 1
    (own,) = index.rank_matches([Lookup(range(100), range(100), 200)])
    assert own.ranks.shape[1] <= 99
    assert (own.ranks[:, 0] >= 1).all()


def test_a_query_never_finds_itself_though_its_twin_comes_first():
    points = torch.zeros(40, 2)
    index = IndexSearch(points, torch.zeros(40), "Flat")
    found = index.nearest(range(40), range(40), 5)
    assert all(row not in found[row].tolist() for row in range(40))


def test_what_an_index_cannot_do_is_said(data, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot build the index 'Nonsense'"):
        IndexSearch(*data, "Nonsense")
    with pytest.raises(ValueError, match=r"of 1000 lists .* there are 600: use fewer"):
        IndexSearch(*data, "IVF1000,Flat")
    with pytest.raises(ValueError, match="nprobe is for IVF"):
        IndexSearch(*data, "Flat", nprobe=3)
    with pytest.raises(ValueError, match="cannot rank the whole gallery: leave out mean_average"):
        IndexSearch(*data, "Flat").rank_matches([Lookup(range(3), range(600), None)])
    with pytest.raises(ValueError, match="cannot search one task's images alone"):
        IndexSearch(*data, "PQ4x4").nearest(range(3), range(50), 2)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="an index needs faiss"):
        IndexSearch(*data, "Flat")
