"""Correlation, probes and feature estimation in a Lightning module. Needs: pip install lightning.

Three tasks: the estimates of the first model, which is gone by then, are used in the third.
"""

import copy
import logging
import warnings

import lightning
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.estimators import EstimatorBank
from pml_incremental.losses import CorrelationDistillationLoss, FeatureEstimationLoss
from pml_incremental.models import SmallConvNet
from pml_incremental.probes import warp
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import Teacher


class IncrementalModule(lightning.LightningModule):
    """An embedding model that learns a task, beside a teacher if it has one.

    A ``Teacher`` and a bank are no modules: Lightning neither trains nor stores them.
    """

    def __init__(
        self, model: nn.Module, teacher: Teacher | None = None, bank: EstimatorBank | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher
        self.metric_loss = TripletMarginLoss(margin=0.1)
        self.correlation_loss = CorrelationDistillationLoss()
        self.estimation_loss = FeatureEstimationLoss(bank)
        self.generator = torch.Generator().manual_seed(0)

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The metric loss and, beside a teacher, those that hold on to what it knows."""
        images, labels = batch
        embeddings = self.model(images)
        loss: Tensor = self.metric_loss(embeddings, labels)
        if self.teacher is not None:
            probes = warp(images, self.generator)
            targets, goals = self.teacher.embed(images), self.teacher.embed(probes)
            loss = loss + 10 * self.correlation_loss(embeddings, ref_emb=targets)
            loss = loss + 20 * self.correlation_loss(self.model(probes), ref_emb=goals)
            loss = loss + 10 * self.estimation_loss(embeddings, ref_emb=targets)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the model alone."""
        return torch.optim.Adam(self.model.parameters(), lr=2e-3)


def learn(
    model: nn.Module,
    task: Task,
    teacher: Teacher | None = None,
    bank: EstimatorBank | None = None,
) -> None:
    """Train a model on the images of one task, in place."""
    sampler = MPerClassSampler(task.train.labels, m=4, batch_size=80, length_before_new_iter=2000)
    loader = DataLoader(task.train, batch_size=80, sampler=sampler)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=6,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(IncrementalModule(model, teacher, bank), loader)


def main() -> None:
    """Learn three scripts, without teachers and with them."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    lightning.seed_everything(0, verbose=False)
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

    leaving = Teacher(copy.deepcopy(with_teachers))
    learn(with_teachers, second, leaving)
    coming = Teacher(copy.deepcopy(with_teachers))
    bank = EstimatorBank("LinearEstimator")
    batches = DataLoader(third.train, batch_size=200)
    bank.update((leaving.embed(images), coming.embed(images)) for images, _ in batches)
    learn(with_teachers, third, coming, bank)

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
