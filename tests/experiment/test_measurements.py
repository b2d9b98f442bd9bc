import torch

from pml_incremental.experiment.running.measurements import has_collapsed


def test_one_embedding_that_differs_is_no_collapse():
    embeddings = torch.ones(50, 4)
    assert has_collapsed(embeddings)
    embeddings[7] = torch.tensor([1.0, 1.0, 1.0, 0.5])
    assert not has_collapsed(embeddings)
    # Lengths and single images do not count.
    assert has_collapsed(torch.tensor([[1.0, 0.0], [5.0, 1e-3]]))
    assert not has_collapsed(torch.ones(1, 4))
    assert not has_collapsed(torch.zeros(0, 4))
    embeddings = torch.ones(100_000, 2)  # many are sampled evenly
    embeddings[50_000:, 0] = -1
    assert not has_collapsed(embeddings)
