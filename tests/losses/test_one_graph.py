"""The correlation losses as one graph: of ``torch.compile`` and of CUDA."""

from functools import partial

import pytest
import torch
from pytorch_metric_learning.distances import LpDistance

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional import correlation_distillation
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss

N, WIDTH = 12, 6


def randn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def estimation(estimator="LinearEstimator", **kwargs):
    bank = EstimatorBank(estimator)
    for seed in (2, 4, 6):
        bank.update([(randn(40, WIDTH, seed=seed), randn(40, WIDTH, seed=seed + 1))])
    return FeatureEstimationLoss(bank, **kwargs)


LOSSES = {
    "correlation": CorrelationDistillationLoss,
    "student-target": partial(CorrelationDistillationLoss, target="student"),
    "chunked": partial(CorrelationDistillationLoss, max_bytes=1),
    "student-target-chunked": partial(CorrelationDistillationLoss, target="student", max_bytes=1),
    "euclidean": partial(CorrelationDistillationLoss, distance=LpDistance()),
    "estimation": estimation,
    "estimation-recency": partial(estimation, model_weights="recency"),
    "estimation-mlp": partial(estimation, {"MLPEstimator": {"hidden": 4, "steps": 2}}),
    "estimation-chunked": partial(estimation, max_bytes=1),
}
RANDOM = {"AccuracyChangeEstimator": {"low": -0.4, "high": 0.5}}


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch.compiler.reset()


def pair():
    return randn(N, WIDTH, seed=0).requires_grad_(), randn(N, WIDTH, seed=1)


def value_and_gradient(loss, student, teacher):
    value = loss(student, ref_emb=teacher)
    return value, *torch.autograd.grad(value, student)


def test_function_compiles_to_one_graph():
    student, teacher = pair()

    def loss(embeddings, ref_emb):
        return correlation_distillation(embeddings, ref_emb).mean()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    expected = value_and_gradient(loss, student, teacher)
    torch.testing.assert_close(value_and_gradient(compiled, student, teacher), expected)


@pytest.mark.parametrize("name", LOSSES)
def test_compiles_to_one_graph(name):
    loss, (student, teacher) = LOSSES[name](), pair()
    compiled = torch.compile(LOSSES[name](), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        expected = value_and_gradient(loss, student, teacher)
        torch.testing.assert_close(value_and_gradient(compiled, student, teacher), expected)


@pytest.mark.parametrize("max_bytes", [None, 1])
def test_random_draws_go_on_when_compiled(max_bytes):
    """In several graphs: the seeded generators of the draws are not for tracing."""
    loss, (student, teacher) = estimation(RANDOM, max_bytes=max_bytes), pair()
    compiled = torch.compile(estimation(RANDOM, max_bytes=max_bytes), backend="aot_eager")
    for _ in range(3):
        expected = value_and_gradient(loss, student, teacher)
        torch.testing.assert_close(value_and_gradient(compiled, student, teacher), expected)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", LOSSES)
def test_in_a_cuda_graph_and_without_waiting_for_the_device(name):
    loss = LOSSES[name]()
    student, teacher = (tensor.detach().cuda() for tensor in pair())
    student.requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        value_and_gradient(loss, student, teacher)
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.set_sync_debug_mode("error")
    try:
        value_and_gradient(loss, student, teacher)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = value_and_gradient(loss, student, teacher)
    with torch.no_grad():
        student.copy_(randn(N, WIDTH, seed=9))
    graph.replay()
    torch.testing.assert_close(captured, value_and_gradient(loss, student, teacher))
