"""Each loss is the mean of its formula, and refuses what it cannot take."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pml_incremental import losses
from pml_incremental.functional import (
    angle_distillation,
    cosine_distillation,
    distance_distillation,
    l2_distillation,
    logit_distillation,
    maximum_mean_discrepancy,
)

GOLDEN = Path(__file__).parents[1] / "data" / "official_losses.npz"


def frobenius(student, teacher):
    first, second = (torch.nn.functional.normalize(e @ e.T, dim=1) for e in (student, teacher))
    return (first - second).norm() ** 2 / len(student) ** 2


@pytest.mark.parametrize(
    ("loss", "width", "formula"),
    [
        (losses.EmbeddingDistillationLoss(), 4, l2_distillation),
        (losses.EmbeddingDistillationLoss("cosine"), 4, cosine_distillation),
        # weights 1 and 2, and temperature 2, as in the papers
        (
            losses.RelationalDistillationLoss(),
            3,
            lambda z, t: distance_distillation(z, t) + 2 * angle_distillation(z, t),
        ),
        (losses.RelationalDistillationLoss(0.0, 3.0), 3, lambda *e: 3 * angle_distillation(*e)),
        (
            losses.RelationalDistillationLoss(0.5, 0.0),
            3,
            lambda z, t: distance_distillation(z, t) / 2,
        ),
        (losses.LogitDistillationLoss(), 3, lambda z, t: logit_distillation(z, t, 2.0)),
        (losses.LogitDistillationLoss(0.5), 3, lambda z, t: logit_distillation(z, t, 0.5)),
        (losses.MMDLoss(), 4, maximum_mean_discrepancy),
        (losses.MMDLoss([0.5, 3.0]), 4, lambda z, t: maximum_mean_discrepancy(z, t, [0.5, 3.0])),
        (losses.SimilarityPreservingLoss(), 3, frobenius),
    ],
)
def test_is_the_mean_of_its_formula(loss, width, formula):
    student, teacher = torch.randn(6, 4), torch.randn(6, width)
    expected = formula(student, teacher).mean()
    torch.testing.assert_close(loss(student, ref_emb=teacher), expected)


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)])
def test_l2_equals_the_published_code(case, dtype, tolerance):
    with np.load(GOLDEN) as golden:
        names = [f"{case}/student", f"{case}/teacher"]
        student, teacher = (torch.tensor(golden[name], dtype=dtype) for name in names)
        expected = float(golden[f"{case}/l2_norm"])
    value = losses.EmbeddingDistillationLoss()(student, ref_emb=teacher)
    assert value.item() == pytest.approx(expected, rel=tolerance)


def test_mmd_brings_the_distributions_together():
    torch.manual_seed(0)
    student, teacher = (torch.randn(32, 4) + 1).requires_grad_(), torch.randn(32, 4)
    loss, optimizer = losses.MMDLoss(), torch.optim.SGD([student], lr=5.0)
    before = loss(student, ref_emb=teacher).item()
    apart = (student.mean(dim=0) - teacher.mean(dim=0)).norm().item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(student, ref_emb=teacher).backward()
        optimizer.step()
    assert loss(student, ref_emb=teacher).item() < 0.1 * before
    assert (student.mean(dim=0) - teacher.mean(dim=0)).norm() < 0.5 * apart


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (losses.EmbeddingDistillationLoss("l2"), "width 4 but the teacher's have 5"),
        (losses.EmbeddingDistillationLoss("cosine"), "width 4 but the teacher's have 5"),
        (losses.MMDLoss(), "width 4 but the teacher's have 5"),
        (losses.LogitDistillationLoss(), "student has logits for 4 classes but the teacher for 5"),
    ],
)
def test_teachers_of_another_width(loss, message):
    with pytest.raises(ValueError, match=message):
        loss(torch.zeros(2, 4), ref_emb=torch.zeros(2, 5))


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (losses.CorrelationDistillationLoss, [0.0], "temperature must be positive and finite"),
        (losses.CorrelationDistillationLoss, [-4.0], "temperature must be positive and finite"),
        (losses.CorrelationDistillationLoss, [NAN], "temperature must be positive and finite"),
        (
            losses.CorrelationDistillationLoss,
            [4.0, "both"],
            'target must be "teacher" or "student", got \'both\'',
        ),
        (
            losses.CorrelationDistillationLoss,
            [4.0, "teacher", None, 0],
            "max_bytes must be at least 1, got 0",
        ),
        (losses.EmbeddingDistillationLoss, ["l1"], 'kind must be "l2" or "cosine", got \'l1\''),
        (losses.LogitDistillationLoss, [-1.0], "temperature must be positive"),
        (losses.RectifiedCorrelationLoss, [0.0], "temperature must be positive"),
        (losses.MMDLoss, [()], "bandwidths must be one or more positive numbers"),
        (losses.MMDLoss, [(0.0,)], "bandwidths must be one or more positive numbers"),
        *(
            (losses.RelationalDistillationLoss, weights, "at least 0 and not both 0")
            for weights in ([0, 0], [-1, 2], [1, NAN], [INF, 1])
        ),
    ],
)
def test_bad_arguments(loss, arguments, message):
    with pytest.raises(ValueError, match=message):
        loss(*arguments)
