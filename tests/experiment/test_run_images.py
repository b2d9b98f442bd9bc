import shutil

import pytest
from PIL import Image

from pml_incremental.datasets import ImageFolder
from pml_incremental.experiment import run
from pml_incremental.experiment.running.run_folder import RunFolder, check_same_images
from pml_incremental.scenarios import ClassIncrementalScenario

CONFIG = {"name": "x"}


@pytest.fixture
def images(draw_classes, tmp_path):
    return draw_classes(tmp_path / "images", "abcd", images=6)


def scenario(images, tasks=(2, 2)):
    return ClassIncrementalScenario(ImageFolder(images), tasks)


@pytest.fixture
def folder(images, tmp_path):
    """Of a run that has begun to learn."""
    folder = RunFolder(tmp_path / "run", CONFIG)
    check_same_images(folder, scenario(images))
    folder.write_text("task_1.txt", "")
    return folder


@pytest.mark.parametrize(
    ("change", "tasks", "message"),
    [
        (lambda root: shutil.copytree(root / "a", root / "Z"), (2, 2), "task 1 now brings the cla"),
        (lambda root: shutil.rmtree(root / "d"), (2, 1), "task 2 now lacks the class d"),
        (lambda root: (root / "c/0.png").unlink(), (2, 2), "task 2 had 8 .* and has 7 now"),
        (lambda root: (root / "a/0.png").rename(root / "a/x.png"), (2, 2), "task 1 had other"),
        (lambda _: None, (2, 1, 1), "it had 2 tasks, and has 3 now"),
    ],
)
def test_images_that_changed_are_refused(folder, images, change, tasks, message):
    check_same_images(folder, scenario(images))  # they come back
    change(images)
    with pytest.raises(ValueError, match=f"{message}.*Bring them back"):
        check_same_images(folder, scenario(images, tasks))


def test_nothing_is_lost_where_nothing_was_learned(images, tmp_path):
    folder = RunFolder(tmp_path / "run", CONFIG)
    check_same_images(folder, scenario(images))
    Image.new("RGB", (8, 8)).save(images / "a" / "new.png")
    check_same_images(folder, scenario(images))
    folder.write_text("task_1.txt", "")
    check_same_images(folder, scenario(images))


@pytest.mark.slow
@pytest.mark.usefixtures("without_pictures")
def test_a_run_whose_folder_grew_is_not_gone_on_with(images, tiny_config, tmp_path):
    config = tiny_config(
        tmp_path,
        dataset={"ImageFolder": {"root": str(images)}},
        scenario={"ClassIncrementalScenario": {"classes_per_task": [2, 2]}},
        models={"trunk": {"SmallConvNet": {"in_channels": 3, "width": 4}}},
        optimizers={"trunk_optimizer": {"Adam": {"lr": 1e-3}}},
        sampler={"MPerClassSampler": {"m": 4}},
        trainer={"IncrementalMetricLoss": {"batch_size": 8, "iterations_per_epoch": 1}},
    )
    assert run(config, progress=False).learned
    shutil.copytree(images / "a", images / "0")
    with pytest.raises(ValueError, match="task 1 now brings the class 0"):
        run(config, progress=False)
