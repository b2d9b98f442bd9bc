"""Speed as ratios within one run: ``python runners/benchmark.py [PART]``.

Parts: ``evaluation``, ``large-batches``, ``fecd-steps``, ``processes``; without one, losses and
training steps.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from in_turn import ROUNDS, compare
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import Tensor, nn
from torch.utils.data import TensorDataset
from torchvision.models import resnet18

from pml_incremental.estimators import EstimatorBank
from pml_incremental.functional import correlation_distillation
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.models import SmallConvNet, remove_classification_head
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

TEMPERATURE = 4.0
PRIOR_MODELS = 10


def loop_over_anchors(student: Tensor, teacher: Tensor) -> Tensor:
    losses = []
    for i in range(len(student)):
        target = F.softmax(teacher @ teacher[i] / TEMPERATURE, dim=0)
        logits = F.log_softmax(student @ student[i] / TEMPERATURE, dim=0)
        losses.append(TEMPERATURE**2 * (target * (target.log() - logits)).sum())
    return torch.stack(losses).mean()


def inline(student: Tensor, teacher: Tensor) -> Tensor:
    logits = F.log_softmax(student @ student.T / TEMPERATURE, dim=1)
    target = F.softmax(teacher @ teacher.T / TEMPERATURE, dim=1)
    return F.kl_div(logits, target, reduction="batchmean") * TEMPERATURE**2


def inline_normalised(student: Tensor, teacher: Tensor) -> Tensor:
    return inline(F.normalize(student), F.normalize(teacher))


def benchmark_loss() -> None:
    student = F.normalize(torch.randn(80, 512)).requires_grad_()
    teacher = F.normalize(torch.randn(80, 512))
    loss = CorrelationDistillationLoss(TEMPERATURE)

    def step(compute: Callable[[Tensor, Tensor], Tensor]) -> Callable[[], None]:
        def run() -> None:
            student.grad = None
            compute(student, teacher).backward()

        return run

    function = step(lambda z, t: correlation_distillation(z, t, TEMPERATURE).mean())
    module = step(lambda z, t: loss(z, ref_emb=t))
    loop = step(loop_over_anchors)
    compare("loop over anchors / correlation function, N=80 d=512", loop, function, ">= 20")
    compare("correlation function / written inline", function, step(inline), "<= 1.3")
    compare(
        "correlation loss / written inline with normalisation",
        module,
        step(inline_normalised),
        "<= 1.3",
    )


def benchmark_step(name: str, trunk: nn.Module, width: int, images: Tensor, rounds: int) -> None:
    labels = torch.arange(80) % 20
    models = {"trunk": trunk, "embedder": nn.Linear(width, 128)}
    teacher = Teacher.snapshot(models)

    def trainer(trainer_class: type, **kwargs: object) -> MetricLossOnly:
        losses: dict[str, nn.Module] = {"metric_loss": TripletMarginLoss()}
        if "teacher" in kwargs:
            losses["correlation_loss"] = CorrelationDistillationLoss(TEMPERATURE)
        built = trainer_class(
            models=dict(models),
            optimizers={
                f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=1e-6)
                for name, model in models.items()
            },
            batch_size=80,
            loss_funcs=losses,
            dataset=TensorDataset(images, labels),
            dataloader_num_workers=0,
            data_device=torch.device("cpu"),
            **kwargs,
        )
        built.initialize_dataloader()
        built.set_to_train()
        built.epoch, built.iteration = 1, 0
        return built

    plain, ours = trainer(MetricLossOnly), trainer(IncrementalMetricLoss, teacher=teacher)

    def plain_step_and_teacher() -> None:
        plain.forward_and_backward()
        teacher.embed(images)

    compare(
        f"incremental step / (plain PML step + teacher forward), {name}",
        ours.forward_and_backward,
        plain_step_and_teacher,
        "<= 1.05",
        rounds,
        calls=1,
    )


def benchmark_estimation() -> None:
    student = torch.randn(80, 512, requires_grad=True)
    teacher = torch.randn(80, 512)
    network = resnet18(weights=None).eval()
    images = torch.randn(80, 3, 224, 224)
    correlation = CorrelationDistillationLoss(TEMPERATURE)

    def step(loss: nn.Module) -> Callable[[], None]:
        def run() -> None:
            student.grad = None
            loss(student, ref_emb=teacher).backward()

        return run

    @torch.no_grad()
    def forward_pass() -> None:
        network(images)

    for name in ("AccuracyChangeEstimator", "DriftEstimator", "LinearEstimator", "MLPEstimator"):
        bank = EstimatorBank(name)
        for _ in range(PRIOR_MODELS):
            bank.update([(torch.randn(80, 512), torch.randn(80, 512))])
            if bank.needs_ranges:
                bank.set_ranges(dict.fromkeys(range(1, len(bank) + 1), (-0.05, 0.2)))
        estimation = step(FeatureEstimationLoss(bank, TEMPERATURE))
        title = f"estimation loss, {name}, 10 prior models / correlation loss"
        compare(title, estimation, step(correlation), "<= 12")
    title = "one forward pass of ResNet-18 at 224 px / estimation loss, MLPEstimator"
    compare(title, forward_pass, estimation, ">= 0.5, as ten would be 5", rounds=5, calls=1)


def main() -> None:
    if sys.argv[1:] == ["evaluation"]:
        from benchmark_evaluation import benchmark_evaluation

        benchmark_evaluation()
        return
    if sys.argv[1:] == ["large-batches"]:
        from benchmark_large_batches import benchmark_large_batches

        benchmark_large_batches()
        return
    if sys.argv[1:] == ["fecd-steps"]:
        from benchmark_fecd_steps import benchmark_fecd_steps

        benchmark_fecd_steps()
        return
    if sys.argv[1:] == ["processes"]:
        from benchmark_processes import benchmark_processes

        benchmark_processes()
        return
    torch.manual_seed(0)
    print(
        f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, medians of {ROUNDS} rounds run in turn"
    )
    benchmark_loss()
    benchmark_estimation()
    resnet = remove_classification_head(resnet18(weights=None))
    benchmark_step("ResNet-18 at 64 px", resnet, 512, torch.randn(80, 3, 64, 64), rounds=20)
    small = SmallConvNet()
    benchmark_step("SmallConvNet at 32 px", small, 96, torch.randn(80, 1, 32, 32), rounds=60)


if __name__ == "__main__":
    main()
