import pytest

from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.experiment.training_images import training_images
from pml_incremental.strategies import STRATEGIES


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
