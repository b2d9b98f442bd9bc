import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import ToTensor

from pml_incremental.datasets import Glyphs
from pml_incremental.scenarios import ClassIncrementalScenario
from pml_incremental.strategies import STRATEGIES, FinishedTask
from pml_incremental.trainers import Teacher


@pytest.fixture(scope="module")
def tasks():
    glyphs = Glyphs(scripts=("armenian", "georgian"), max_classes_per_script=4, image_size=8)
    transforms = {"train_transform": ToTensor(), "test_transform": ToTensor()}
    return list(ClassIncrementalScenario(glyphs, class_groups="natural", **transforms))


def replay_after(tasks, **options):
    (component,) = STRATEGIES["replay"](**options).components
    student = Teacher(nn.Flatten())
    for task in tasks:
        component.after_task(None, FinishedTask(task, None, student, torch.device("cpu"), []))
    return component


def counts(parts):
    labels = np.concatenate([part.labels for part in parts])
    return np.unique(labels, return_counts=True)[1].tolist()


@pytest.mark.parametrize("choice", ["herding", "random"])
def test_keeps_so_many_images_of_each_class(tasks, choice):
    component = replay_after(tasks, per_class=3, choice=choice)
    parts = component.exemplars(tasks)
    assert [len(part) for part in parts] == [12, 12]
    assert counts(parts) == [3] * 8
    for part, task in zip(parts, tasks, strict=True):
        assert set(part.indices) <= set(task.train.indices)
        image, label = part[0]
        assert image.shape == (1, 8, 8)
        assert label in task.labels


def test_budget_is_shared_by_more_and_more_classes(tasks):
    assert counts(replay_after(tasks[:1], per_class=9, budget=17).exemplars(tasks)) == [4] * 4
    assert counts(replay_after(tasks, per_class=9, budget=17).exemplars(tasks)) == [2] * 8


def test_a_shorter_list_is_the_start_of_a_longer_one(tasks):
    short, long = (replay_after(tasks[:1], per_class=k).state_dict() for k in (2, 4))
    for label in tasks[0].labels:
        first = long["indices"][long["labels"] == label][:2]
        assert torch.equal(short["indices"][short["labels"] == label], first)


def test_state_survives(tasks):
    component = replay_after(tasks, per_class=3)
    (other,) = STRATEGIES["replay"](per_class=3).components
    other.load_state_dict(component.state_dict())
    for mine, theirs in zip(component.exemplars(tasks), other.exemplars(tasks), strict=True):
        assert (mine.indices == theirs.indices).all()
    for key, tensor in component.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor)


def test_options_are_checked(tasks):
    with pytest.raises(ValueError, match="budget of 5 for 8 classes"):
        replay_after(tasks, budget=5)
    for options, message in (
        ({"per_class": 0}, "must be at least 1"),
        ({"choice": "best"}, 'must be "herding" or'),
    ):
        with pytest.raises(ValueError, match=message):
            STRATEGIES["replay"](**options)
