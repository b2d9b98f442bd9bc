import torch

from pml_incremental.functional.correlation import self_similarity


def test_value_and_gradient_are_those_of_the_plain_product():
    torch.manual_seed(0)
    embeddings = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(6, 6, dtype=torch.float64)
    (mine,) = torch.autograd.grad((self_similarity(embeddings) * weights).sum(), embeddings)
    (plain,) = torch.autograd.grad(((embeddings @ embeddings.T) * weights).sum(), embeddings)
    torch.testing.assert_close(self_similarity(embeddings), embeddings @ embeddings.T)
    torch.testing.assert_close(mine, plain)

    assert torch.autograd.gradcheck(self_similarity, embeddings)
