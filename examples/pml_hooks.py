"""Our trainer under PML's logging presets: records, best models, patience, a plateau scheduler.

Writes to the folder given as the argument, or to runs/pml_hooks; started again, it resumes there.
Which epoch is best is decided on images held out of the training images, never on test images.
"""

import shutil
import sys
from pathlib import Path

import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import nn
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.experiment import seed_everything
from pml_incremental.experiment.tuning.tune import validation_scenario
from pml_incremental.hooks import TaskHooks
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.metrics import TaskMatrix
from pml_incremental.models import SmallConvNet
from pml_incremental.records import record_task_summary
from pml_incremental.records.writers import RecordKeeperWriter
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester
from pml_incremental.trainers import IncrementalMetricLoss, Teacher

CPU = torch.device("cpu")


def build_trainer(
    models: dict[str, nn.Module],
    seen: list[Task],
    teacher: Teacher | None,
    hooks: TaskHooks,
    tester: IncrementalTester,
) -> IncrementalMetricLoss:
    """A trainer for the last of the tasks seen, which is validated on all of them."""
    optimizers = {
        f"{name}_optimizer": torch.optim.Adam(model.parameters(), lr=2e-3)
        for name, model in models.items()
    }
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizers["trunk_optimizer"], mode="max", factor=0.5, patience=1
    )
    return IncrementalMetricLoss(
        models=models,
        teacher=teacher,
        optimizers=optimizers,
        lr_schedulers={"trunk_scheduler_by_plateau": plateau},
        batch_size=80,
        loss_funcs={
            "metric_loss": TripletMarginLoss(margin=0.1),
            "correlation_loss": CorrelationDistillationLoss(),
        },
        loss_weights={"metric_loss": 1, "correlation_loss": 10},
        dataset=seen[-1].train,
        sampler=MPerClassSampler(seen[-1].train.labels, 4, 80, length_before_new_iter=1200),
        dataloader_num_workers=0,
        data_device=CPU,
        progress=False,
        end_of_iteration_hook=hooks.end_of_iteration_hook,
        end_of_epoch_hook=hooks.end_of_epoch_hook(
            tester, {task.name: task.test for task in seen}, patience=3
        ),
    )


def main(folder: Path) -> None:
    """Learn Armenian letters, then Georgian ones."""
    seed_everything(0)
    torch.set_num_threads(1)
    glyphs = Glyphs(["armenian", "georgian"], max_classes_per_script=60)
    scenario = ClassIncrementalScenario(
        glyphs, class_groups="natural", train_transform=ToTensor(), test_transform=ToTensor()
    )
    # The same two tasks, whose test images are now a quarter of the training images.
    tasks = list(validation_scenario(scenario, validation_fraction=0.25, seed=0))

    models = {"trunk": SmallConvNet(1, width=16), "embedder": nn.Linear(64, 64)}
    matrix, teacher = TaskMatrix.empty(len(tasks)), None
    test = IncrementalTester(dataloader_num_workers=0, data_device=CPU)
    shutil.rmtree(folder / "summary", ignore_errors=True)  # it is written anew each time
    summary = RecordKeeperWriter(folder, "summary")
    for number, task in enumerate(tasks, 1):
        hooks = TaskHooks(folder / task.name)
        tester = IncrementalTester(
            dataloader_num_workers=0,
            data_device=CPU,
            end_of_testing_hook=hooks.end_of_testing_hook,
        )
        trainer = build_trainer(models, tasks[:number], teacher, hooks, tester)
        trainer.train(hooks.resume(trainer), num_epochs=6)
        best = hooks.load_best(trainer)
        teacher = Teacher.snapshot(trainer.models)

        images = {task.name: task.test for task in scenario}
        recall = test.evaluate(images, **trainer.models).own["recall_at_1"]
        matrix.set_row(number, list(recall.values()))
        record_task_summary(summary, {"own/recall_at_1": matrix}, number)
        print(f"{task.name}: epoch {best} is best on the validation images of all tasks")

    query = "SELECT own_recall_at_1_last AS last, own_recall_at_1_forgetting AS lost FROM summary"
    for number, row in enumerate(summary.keeper.query(query), 1):
        lost = "" if row["lost"] is None else f", forgetting {row['lost']:.1%}"
        print(f"after task {number}: Recall@1 {row['last']:.1%}{lost}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/pml_hooks"))
