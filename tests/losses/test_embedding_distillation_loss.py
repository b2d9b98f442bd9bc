from pathlib import Path

import numpy as np
import pytest
import torch

from pml_incremental.functional import cosine_distillation, l2_distillation
from pml_incremental.losses import EmbeddingDistillationLoss

GOLDEN = Path(__file__).parents[1] / "data" / "official_losses.npz"


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_l2_is_the_default_and_equals_the_published_code(case, dtype, tolerance):
    with np.load(GOLDEN) as golden:
        student, teacher = (
            torch.tensor(golden[f"{case}/{name}"], dtype=dtype) for name in ("student", "teacher")
        )
        expected = float(golden[f"{case}/l2_norm"])
    value = EmbeddingDistillationLoss()(student, ref_emb=teacher)
    assert value.item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(
    ("kind", "distil"), [("l2", l2_distillation), ("cosine", cosine_distillation)]
)
def test_kinds(kind, distil):
    student, teacher = torch.randn(6, 4), torch.randn(6, 4)
    value = EmbeddingDistillationLoss(kind)(student, ref_emb=teacher)
    torch.testing.assert_close(value, distil(student, teacher).mean())


@pytest.mark.parametrize("kind", ["l2", "cosine"])
def test_teacher_of_another_width(kind):
    with pytest.raises(ValueError, match=r"width 4 but the teacher's have 5"):
        EmbeddingDistillationLoss(kind)(torch.zeros(2, 4), ref_emb=torch.zeros(2, 5))


def test_bad_kind():
    with pytest.raises(ValueError, match='kind must be "l2" or "cosine", got \'l1\''):
        EmbeddingDistillationLoss("l1")
