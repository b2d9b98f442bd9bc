from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import (
    CosineSimilarity,
    DotProductSimilarity,
    LpDistance,
    SNRDistance,
)
from pytorch_metric_learning.reducers import DoNothingReducer
from torch.nn import functional as F

from pml_incremental.functional import correlation_distillation, similarity_divergence
from pml_incremental.losses import CorrelationDistillationLoss

GOLDEN = Path(__file__).parents[1] / "data" / "official_losses.npz"
KEYS = {"teacher": "corr_teacher_target", "student": "corr_official_call_order"}
CASES = pytest.mark.parametrize("case", ["case0", "case1", "case2"])
DTYPES = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float32, 1e-4)]
)
TARGETS = pytest.mark.parametrize("target", ["teacher", "student"])
TEMPERATURES = pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 4.0])


def golden(case, target, dtype):
    names = ("student", "teacher", "labels")
    with np.load(GOLDEN) as file:
        student, teacher, labels = (torch.tensor(file[f"{case}/{name}"]) for name in names)
        value = float(file[f"{case}/{KEYS[target]}"])
        gradient = torch.tensor(file[f"{case}/{KEYS[target]}_grad"])
    return student.to(dtype).requires_grad_(), labels, teacher.to(dtype), value, gradient


def pair(n=16, width=32, teacher_width=24):
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(n, width, generator=generator)
    return student.requires_grad_(), torch.randn(n, teacher_width, generator=generator)


def relative_error(actual, expected):
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


@CASES
@DTYPES
@TARGETS
def test_equals_the_published_code(case, dtype, tolerance, target):
    student, labels, teacher, value, gradient = golden(case, target, dtype)
    plain = DotProductSimilarity(normalize_embeddings=False)
    loss = CorrelationDistillationLoss(target=target, distance=plain)
    result = loss(student, labels, ref_emb=teacher)
    result.backward()
    assert result.item() == pytest.approx(value, rel=tolerance)
    assert relative_error(student.grad, gradient) < tolerance


@CASES
@DTYPES
@TARGETS
def test_default_distance_gives_the_published_gradient_on_the_sphere(
    case, dtype, tolerance, target
):
    student, labels, teacher, value, gradient = golden(case, target, dtype)
    result = CorrelationDistillationLoss(target=target)(student, labels, ref_emb=teacher)
    result.backward()
    unit = student.detach().double()
    tangent = gradient - (gradient * unit).sum(dim=1, keepdim=True) * unit
    assert result.item() == pytest.approx(value, rel=tolerance)
    assert relative_error(student.grad, tangent) < tolerance


@TARGETS
def test_default_normalises_both_embeddings(target):
    student, teacher = pair()
    arguments = [F.normalize(student), F.normalize(teacher)]
    expected = correlation_distillation(*(arguments if target == "teacher" else arguments[::-1]))
    value = CorrelationDistillationLoss(target=target)(student, ref_emb=teacher)
    torch.testing.assert_close(value, expected.mean())
    cosine = CorrelationDistillationLoss(target=target, distance=CosineSimilarity())
    torch.testing.assert_close(cosine(student, ref_emb=teacher), value)


def test_a_distance_that_is_no_similarity_is_negated():
    student, teacher = pair()
    plain = LpDistance(normalize_embeddings=False)
    value = CorrelationDistillationLoss(2.0, distance=plain)(student, ref_emb=teacher)
    similarities = -torch.cdist(student, student), -torch.cdist(teacher, teacher)
    expected = similarity_divergence(*similarities, 2.0)
    torch.testing.assert_close(value, expected.mean())


@TEMPERATURES
def test_embeddings_made_under_autocast(temperature):
    torch.manual_seed(0)
    model, images, (_, teacher) = torch.nn.Linear(20, 32), torch.randn(16, 20), pair()
    loss = CorrelationDistillationLoss(temperature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = model(images)
        value = loss(embeddings, ref_emb=teacher)
    assert embeddings.dtype == torch.bfloat16
    expected = loss(embeddings.float(), ref_emb=teacher)
    assert value.item() == pytest.approx(expected.item(), rel=0.01)
    value.backward()
    assert model.weight.grad.abs().max() > 0


def test_serves_pml_versions_that_pass_fewer_arguments():
    student, teacher = pair()
    info = CorrelationDistillationLoss().compute_loss(student, None, ref_emb=teacher)["loss"]
    assert info["losses"].shape == (16,)
    assert "temperature" in CorrelationDistillationLoss(3.0)._record_these


DISTANCES = pytest.mark.parametrize(
    "distance",
    [
        None,
        DotProductSimilarity(normalize_embeddings=False),
        CosineSimilarity(collect_stats=True),
        DotProductSimilarity(power=2),
        LpDistance(p=1),
        LpDistance(power=2),
        SNRDistance(),
    ],
    ids=["default", "dot", "cosine", "dot-squared", "l1", "l2-squared", "snr"],
)


@DISTANCES
@TARGETS
@pytest.mark.parametrize("max_bytes", [1, 5 * 8 * 16 * 8])
def test_chunks_change_neither_value_nor_gradient(distance, target, max_bytes):
    student, teacher = (e.detach().double() for e in pair())
    student.requires_grad_()
    weights = torch.rand(16).double()
    results = []
    for limit in (max_bytes, None):
        loss = CorrelationDistillationLoss(0.7, target, distance, limit, reducer=DoNothingReducer())
        values = loss(student, ref_emb=teacher)["loss"]["losses"]
        results.append((values, *torch.autograd.grad((weights * values).sum(), student)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("distance", [None, LpDistance()], ids=["dot", "euclidean"])
def test_chunks_keep_nothing_of_the_size_of_a_similarity_matrix(distance):
    kept = []

    def pack(tensor):
        kept.append(tensor.numel())
        return tensor

    loss = CorrelationDistillationLoss(distance=distance, max_bytes=1)
    student, teacher = pair(n=80)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss(student, ref_emb=teacher).backward()
    assert max(kept) <= 80 * 32


def test_chunks_change_no_statistics():
    student, teacher = pair()
    recorded = []
    for max_bytes in (1, None):
        distance = CosineSimilarity(collect_stats=True)
        loss = CorrelationDistillationLoss(distance=distance, max_bytes=max_bytes)
        loss(student, ref_emb=teacher)
        recorded.append([getattr(distance, name) for name in distance._record_these_stats])
    assert recorded[0] == recorded[1]
    assert all(recorded[0])


def test_chunks_of_a_distance_with_a_forward_of_its_own():
    class Centred(DotProductSimilarity):
        def forward(self, query_emb, ref_emb=None):
            return super().forward(query_emb - query_emb.mean(dim=0), ref_emb)

    student, teacher = pair()
    assert CorrelationDistillationLoss(distance=Centred())(student, ref_emb=teacher) > 0
    with pytest.raises(ValueError, match=r"Centred has a forward of its own.* max_bytes=None"):
        CorrelationDistillationLoss(distance=Centred(), max_bytes=1)(student, ref_emb=teacher)
