"""Parts of a run, without one."""

from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pml_incremental.experiment.assembly import build_sampler, build_scenario
from pml_incremental.experiment.running.measurements import has_collapsed, packed
from pml_incremental.experiment.running.outputs import choose_queries
from pml_incremental.experiment.running.stage import training_images
from pml_incremental.strategies import STRATEGIES, FinishedTask
from pml_incremental.trainers import Teacher


def test_packed_rows_say_the_same():
    found = {"own/x": {"task_1": 0.1, "task_2": 1.0}, "joint/x": {"task_1": 0.0, "task_2": None}}
    kept = packed(found)
    assert {metric: dict(row) for metric, row in kept.items()} == found
    assert len(kept["own/x"]) == 2
    with pytest.raises(KeyError):
        kept["own/x"]["task_3"]


def test_one_embedding_that_differs_is_no_collapse():
    embeddings = torch.ones(50, 4)
    assert has_collapsed(embeddings)
    embeddings[7] = torch.tensor([1.0, 1.0, 1.0, 0.5])
    assert not has_collapsed(embeddings)
    # Lengths and single images do not count.
    assert has_collapsed(torch.tensor([[1.0, 0.0], [5.0, 1e-3]]))
    assert not has_collapsed(torch.ones(1, 4))
    assert not has_collapsed(torch.zeros(0, 4))
    embeddings = torch.ones(100_000, 2)  # many are sampled evenly
    embeddings[50_000:, 0] = -1
    assert not has_collapsed(embeddings)


@pytest.mark.parametrize(
    ("sizes", "positions"),
    [
        ([6], [0, 1, 2, 3, 4, 5]),
        ([16], [0, 2, 4, 6, 8, 10, 12, 14]),
        ([2, 100], [0, 1, 2, 27, 52, 77]),
        ([10, 10, 10], [0, 5, 10, 15, 20, 25]),
        ([3] * 40, [0, 15, 33, 48, 66, 81, 99, 117]),  # of the tasks 0, 5, 11, 16, 22, 27, 33, 39
    ],
)
def test_queries_are_spread_over_tasks_and_never_repeated(sizes, positions):
    assert choose_queries([SimpleNamespace(test=range(size)) for size in sizes]) == positions


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
    assert training_images(STRATEGIES["correlation"](), tasks[:2]) is tasks[1].train  # its own


def test_batches_of_replay_hold_old_and_new_classes(tasks, tiny_config):
    strategy = STRATEGIES["replay"](per_class=2)
    (component,) = strategy.components
    task = FinishedTask(tasks[0], None, Teacher(nn.Flatten()), torch.device("cpu"), [])
    component.after_task(None, task)
    images = training_images(strategy, tasks[:2])
    old = [label for label in images.labels if label in tasks[0].labels]
    assert Counter(Counter(old).values()) == {2: 8}
    torch.manual_seed(0)
    drawn = [int(images.labels[index]) for index in build_sampler(tiny_config("unused"), images)]
    assert any(label in tasks[0].labels for label in drawn)
    assert any(label in tasks[1].labels for label in drawn)
