"""The correlation loss in a bare PyTorch loop: learn Georgian letters, keep the Armenian ones."""

import copy

import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.samplers import MPerClassSampler
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.experiment import seed_everything
from pml_incremental.losses import CorrelationDistillationLoss
from pml_incremental.models import SmallConvNet
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.testers import IncrementalTester

glyphs = Glyphs(["armenian", "georgian"], max_classes_per_script=60)
old, new = ClassIncrementalScenario(
    glyphs, class_groups="natural", train_transform=ToTensor(), test_transform=ToTensor()
)

# %%
metric_loss = TripletMarginLoss(margin=0.1)
correlation_loss = CorrelationDistillationLoss(temperature=4.0)


def learn(model: nn.Module, task: Task, epochs: int, teacher: nn.Module | None = None) -> None:
    """Train on the images of one task; with a teacher, hold on to what it sees in them."""
    sampler = MPerClassSampler(task.train.labels, m=4, batch_size=80, length_before_new_iter=2000)
    loader = DataLoader(task.train, batch_size=80, sampler=sampler)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(epochs):
        for images, labels in loader:
            embeddings = model(images)
            loss = metric_loss(embeddings, labels)
            if teacher is not None:
                with torch.no_grad():
                    targets = teacher(images)
                loss = loss + 10 * correlation_loss(embeddings, ref_emb=targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


tester = IncrementalTester(dataloader_num_workers=0, data_device=torch.device("cpu"))


def show(name: str, model: nn.Module) -> None:
    """Print Recall@1 on font faces that were never trained on."""
    recall = tester.evaluate({"old": old.test, "new": new.test}, model).own["recall_at_1"]
    print(f"{name:28}{recall['old']:12.1%}{recall['new']:12.1%}")


# %%
seed_everything(0)
torch.set_num_threads(1)
model = nn.Sequential(SmallConvNet(1, width=16), nn.Linear(64, 64))
learn(model, old, epochs=6)

print(f"{'Recall@1':28}{'old classes':>12}{'new classes':>12}")
show("old classes learned", model)

# %%
fine_tuned = copy.deepcopy(model)
learn(fine_tuned, new, epochs=6)
show("fine-tuned on the new", fine_tuned)

# %%
teacher = copy.deepcopy(model).eval().requires_grad_(False)
learn(model, new, epochs=6, teacher=teacher)
show("with the correlation loss", model)
