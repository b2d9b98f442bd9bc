"""Correlation, probes and feature estimation in an accelerate loop. Needs: pip install accelerate.

Three tasks: the estimates of the first model, which is gone by then, are used in the third.
"""

import copy

import torch
from accelerate import Accelerator
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.estimators import EstimatorBank
from pml_incremental.experiment import seed_everything
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.models import SmallConvNet
from pml_incremental.probes import warp
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester

metric_loss = TripletMarginLoss(margin=0.1)
correlation_loss = CorrelationDistillationLoss()
estimation_loss = FeatureEstimationLoss(EstimatorBank("LinearEstimator"))
generator = torch.Generator().manual_seed(0)  # of what is drawn for the probes


def frozen(model: nn.Module) -> nn.Module:
    """A copy of a model as it is now, to be its teacher."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def distill(model: nn.Module, teacher: nn.Module, images: Tensor, embeddings: Tensor) -> Tensor:
    """Compare the model with its teacher and its prior models, on images and on probes."""
    probes = warp(images, generator)
    with torch.no_grad():
        targets, goals = teacher(images), teacher(probes)
    loss: Tensor = 10 * correlation_loss(embeddings, ref_emb=targets)
    loss = loss + 20 * correlation_loss(model(probes), ref_emb=goals)
    estimated: Tensor = estimation_loss(embeddings, ref_emb=targets)
    return loss + 10 * estimated


def learn(model: nn.Module, task: Task, teacher: nn.Module | None = None) -> None:
    """Train a model on the images of one task, in place."""
    accelerator = Accelerator(cpu=True)
    sampler = MPerClassSampler(task.train.labels, m=4, batch_size=80, length_before_new_iter=2000)
    student, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.Adam(model.parameters(), lr=2e-3),
        DataLoader(task.train, batch_size=80, sampler=sampler),
    )
    for _ in range(6):
        for images, labels in loader:
            embeddings = student(images)
            loss = metric_loss(embeddings, labels)
            if teacher is not None:
                loss = loss + distill(student, teacher, images, embeddings)
            optimizer.zero_grad()
            accelerator.backward(loss)
            optimizer.step()


@torch.no_grad()
def remember(leaving: nn.Module, coming: nn.Module, task: Task) -> None:
    """Let the bank stand for a teacher that leaves, from what both models make of new images."""
    batches = DataLoader(task.train, batch_size=200)
    estimation_loss.bank.update((leaving(images), coming(images)) for images, _ in batches)


def main() -> None:
    """Learn three scripts, without teachers and with them."""
    seed_everything(0)
    torch.set_num_threads(1)
    glyphs = Glyphs(["armenian", "georgian", "greek"], max_classes_per_script=40)
    first, second, third = ClassIncrementalScenario(
        glyphs, class_groups="natural", train_transform=ToTensor(), test_transform=ToTensor()
    )
    learned = nn.Sequential(SmallConvNet(1, width=16), nn.Linear(64, 64))
    learn(learned, first)
    fine_tuned, with_teachers = copy.deepcopy(learned), copy.deepcopy(learned)
    learn(fine_tuned, second)
    learn(fine_tuned, third)

    leaving = frozen(with_teachers)
    learn(with_teachers, second, leaving)
    coming = frozen(with_teachers)
    remember(leaving, coming, third)
    learn(with_teachers, third, coming)

    tester = IncrementalTester(dataloader_num_workers=0, data_device=torch.device("cpu"))
    print(f"{'Recall@1':28}{'first script':>14}{'third script':>14}")
    for name, model in (
        ("first script learned", learned),
        ("fine-tuned twice", fine_tuned),
        ("with teachers", with_teachers),
    ):
        recall = tester.evaluate({"old": first.test, "new": third.test}, model).own["recall_at_1"]
        print(f"{name:28}{recall['old']:14.1%}{recall['new']:14.1%}")


if __name__ == "__main__":
    main()
