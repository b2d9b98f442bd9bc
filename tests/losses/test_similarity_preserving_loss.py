import torch

from pml_incremental.losses import SimilarityPreservingLoss


def test_is_the_frobenius_norm_of_the_paper():
    student, teacher = torch.randn(6, 4), torch.randn(6, 3)
    value = SimilarityPreservingLoss()(student, ref_emb=teacher)
    rows = [torch.nn.functional.normalize(e @ e.T, dim=1) for e in (student, teacher)]
    torch.testing.assert_close(value, (rows[0] - rows[1]).norm() ** 2 / 36)
