import torch

from pml_incremental.experiment.running.measurements import has_collapsed


def test_one_that_differs_is_enough():
    embeddings = torch.ones(50, 4)
    assert has_collapsed(embeddings)
    embeddings[7] = torch.tensor([1.0, 1.0, 1.0, 0.5])
    assert not has_collapsed(embeddings)


def test_lengths_and_single_images_do_not_count():
    assert has_collapsed(torch.tensor([[1.0, 0.0], [5.0, 1e-3]]))
    assert not has_collapsed(torch.ones(1, 4))
    assert not has_collapsed(torch.zeros(0, 4))


def test_many_are_sampled_evenly():
    embeddings = torch.ones(100_000, 2)
    embeddings[50_000:, 0] = -1
    assert not has_collapsed(embeddings)
