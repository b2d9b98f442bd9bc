"""The correlation loss in a Lightning module. Needs: pip install lightning."""

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
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import SmallConvNet
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import Teacher


class IncrementalModule(lightning.LightningModule):
    """An embedding model that learns a task, beside a teacher if it has one.

    A ``Teacher`` is no module: Lightning neither trains nor stores it.
    """

    def __init__(self, model: nn.Module, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.model = model
        self.teacher = teacher
        self.metric_loss = TripletMarginLoss(margin=0.1)
        self.correlation_loss = CorrelationDistillationLoss()

    def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
        """The metric loss and, beside a teacher, the correlation loss."""
        images, labels = batch
        embeddings = self.model(images)
        loss: Tensor = self.metric_loss(embeddings, labels)
        if self.teacher is not None:
            targets = self.teacher.embed(images)
            loss = loss + 10 * self.correlation_loss(embeddings, ref_emb=targets)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam on the model alone."""
        return torch.optim.Adam(self.model.parameters(), lr=2e-3)


def learn(model: nn.Module, task: Task, epochs: int, teacher: Teacher | None = None) -> None:
    """Train a model on the images of one task, in place."""
    sampler = MPerClassSampler(task.train.labels, m=4, batch_size=80, length_before_new_iter=2000)
    loader = DataLoader(task.train, batch_size=80, sampler=sampler)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(IncrementalModule(model, teacher), loader)


def main() -> None:
    """Learn Armenian letters, then Georgian ones without and with the teacher."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    lightning.seed_everything(0, verbose=False)
    torch.set_num_threads(1)
    glyphs = Glyphs(["armenian", "georgian"], max_classes_per_script=60)
    old, new = ClassIncrementalScenario(
        glyphs, class_groups="natural", train_transform=ToTensor(), test_transform=ToTensor()
    )
    learned = nn.Sequential(SmallConvNet(1, width=16), nn.Linear(64, 64))
    learn(learned, old, epochs=6)
    fine_tuned, with_teacher = copy.deepcopy(learned), copy.deepcopy(learned)
    learn(fine_tuned, new, epochs=6)
    learn(with_teacher, new, epochs=6, teacher=Teacher(copy.deepcopy(learned)))

    tester = IncrementalTester(dataloader_num_workers=0, data_device=torch.device("cpu"))
    print(f"{'Recall@1':28}{'old classes':>12}{'new classes':>12}")
    for name, model in (
        ("old classes learned", learned),
        ("fine-tuned on the new", fine_tuned),
        ("with the correlation loss", with_teacher),
    ):
        recall = tester.evaluate({"old": old.test, "new": new.test}, model).own["recall_at_1"]
        print(f"{name:28}{recall['old']:12.1%}{recall['new']:12.1%}")


if __name__ == "__main__":
    main()
