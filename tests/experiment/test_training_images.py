from collections import Counter

import pytest
import torch
from torch import nn

from pml_incremental.experiment.assembly import build_sampler, build_scenario
from pml_incremental.experiment.running.stage import training_images
from pml_incremental.strategies import STRATEGIES, FinishedTask
from pml_incremental.trainers import Teacher


@pytest.fixture(scope="module")
def tasks(tiny_config):
    return list(build_scenario(tiny_config("unused")))


@pytest.mark.parametrize(
    ("name", "first", "second"),
    [("finetune", 8, 8), ("joint", 8, 16), ("frozen", 8, None), ("pretrained", None, None)],
)
def test_classes_that_a_task_is_learned_from(tasks, name, first, second):
    strategy = STRATEGIES[name]()
    for seen, classes in ((tasks[:1], first), (tasks[:2], second)):
        images = training_images(strategy, seen)
        assert (images and len(set(images.labels))) == classes


def test_new_images_are_the_tasks_own(tasks):
    assert training_images(STRATEGIES["correlation"](), tasks[:2]) is tasks[1].train


def test_batches_of_replay_hold_old_and_new_classes(tasks, tiny_config):
    strategy = STRATEGIES["replay"](per_class=2)
    (component,) = strategy.components
    component.after_task(
        None, FinishedTask(tasks[0], None, Teacher(nn.Flatten()), torch.device("cpu"), [])
    )
    images = training_images(strategy, tasks[:2])
    old = [label for label in images.labels if label in tasks[0].labels]
    assert Counter(Counter(old).values()) == {2: 8}
    torch.manual_seed(0)
    drawn = [int(images.labels[index]) for index in build_sampler(tiny_config("unused"), images)]
    assert any(label in tasks[0].labels for label in drawn)
    assert any(label in tasks[1].labels for label in drawn)
