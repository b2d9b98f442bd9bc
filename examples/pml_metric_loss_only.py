"""The correlation loss in PML's own MetricLossOnly, which has no place for a teacher.

PML's trainer computes embeddings, losses, their weighted total and its gradient in one go, so the
teacher has to be asked where the losses are: in ``calculate_loss``. ``IncrementalMetricLoss`` is
this with checks, penalties, a progress bar and losses of other kinds.
"""

import copy

import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.trainers import MetricLossOnly
from torch import Tensor, nn
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.experiment import seed_everything
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import SmallConvNet
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import Teacher

CPU = torch.device("cpu")


class MetricLossWithTeacher(MetricLossOnly):
    """MetricLossOnly that also holds on to what a teacher sees; set ``teacher`` before training."""

    teacher: Teacher

    def modify_schema(self) -> None:
        """Let PML accept the loss's name."""
        self.schema["loss_funcs"].keys.append("correlation_loss")

    def calculate_loss(self, curr_batch: tuple[Tensor, Tensor]) -> None:  # type: ignore[override]
        """Both losses on the same embeddings."""
        images, labels = curr_batch
        embeddings = self.compute_embeddings(images)
        pairs = self.maybe_mine_embeddings(embeddings, labels)
        self.losses["metric_loss"] = self.maybe_get_metric_loss(embeddings, labels, pairs)
        self.losses["correlation_loss"] = self.loss_funcs["correlation_loss"](
            embeddings, labels, ref_emb=self.teacher.embed(images.to(self.data_device))
        )


def build(
    trainer_class: type[MetricLossOnly],
    models: dict[str, nn.Module],
    task: Task,
    weights: dict[str, float],
) -> MetricLossOnly:
    """A PML trainer for one task, with the losses that have a weight."""
    losses = {
        "metric_loss": TripletMarginLoss(margin=0.1),
        "correlation_loss": CorrelationDistillationLoss(),
    }
    return trainer_class(
        models=models,
        optimizers={
            f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=2e-3)
            for name, model in models.items()
        },
        batch_size=80,
        loss_funcs={name: losses[name] for name in weights},
        loss_weights=weights,
        dataset=task.train,
        sampler=MPerClassSampler(task.train.labels, 4, 80, length_before_new_iter=2000),
        dataloader_num_workers=0,
        data_device=CPU,
    )


def main() -> None:
    """Learn Armenian letters, then Georgian ones without and with the teacher."""
    seed_everything(0)
    torch.set_num_threads(1)
    glyphs = Glyphs(["armenian", "georgian"], max_classes_per_script=60)
    old, new = ClassIncrementalScenario(
        glyphs, class_groups="natural", train_transform=ToTensor(), test_transform=ToTensor()
    )
    models = {"trunk": SmallConvNet(1, width=16), "embedder": nn.Linear(64, 64)}
    build(MetricLossOnly, models, old, {"metric_loss": 1}).train(num_epochs=6)
    learned, fine_tuned = copy.deepcopy(models), copy.deepcopy(models)

    build(MetricLossOnly, fine_tuned, new, {"metric_loss": 1}).train(num_epochs=6)
    weights = {"metric_loss": 1.0, "correlation_loss": 10.0}
    trainer = build(MetricLossWithTeacher, models, new, weights)
    assert isinstance(trainer, MetricLossWithTeacher)
    trainer.teacher = Teacher.snapshot(models)
    trainer.train(num_epochs=6)

    tester = IncrementalTester(dataloader_num_workers=0, data_device=CPU)
    print(f"{'Recall@1':28}{'old classes':>12}{'new classes':>12}")
    for name, found in (
        ("old classes learned", learned),
        ("MetricLossOnly on the new", fine_tuned),
        ("the same with a teacher", models),
    ):
        images = {"old": old.test, "new": new.test}
        recall = tester.evaluate(images, found["trunk"], found["embedder"]).own["recall_at_1"]
        print(f"{name:28}{recall['old']:12.1%}{recall['new']:12.1%}")


if __name__ == "__main__":
    main()
