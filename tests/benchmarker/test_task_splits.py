import numpy as np
import pytest

from pml_incremental.benchmarker.task_splits import joint_gallery, split_tasks
from pml_incremental.datasets import Glyphs
from pml_incremental.scenarios import ClassIncrementalScenario


@pytest.fixture(scope="module")
def glyphs():
    return Glyphs(("armenian", "georgian", "math"), max_classes_per_script=5)


@pytest.fixture(scope="module")
def stages(glyphs):
    return split_tasks(ClassIncrementalScenario(glyphs, class_groups="natural"), 0.25, seed=0)


def test_train_and_val_share_the_training_images_of_the_new_classes(glyphs, stages):
    for stage in stages:
        found = np.concatenate([stage.train.indices, stage.val.indices])
        of_classes = np.isin(glyphs.labels, stage.task.classes)
        assert sorted(found) == np.flatnonzero(of_classes & ~glyphs.test_mask).tolist()
        for label in stage.task.classes:
            held_out = (glyphs.labels[stage.val.indices] == label).sum()
            in_training = (glyphs.labels[stage.train.indices] == label).sum()
            assert held_out == max(2, round(0.25 * (held_out + in_training)))


def test_test_images_are_those_of_the_classes_learned_so_far(glyphs, stages):
    for number, stage in enumerate(stages, 1):
        splits = stage.indices()
        seen = [f"task_{i}" for i in range(1, number + 1)]
        assert list(splits) == ["train", "val", "test", *seen]
        assert splits["test"].tolist() == np.concatenate([splits[name] for name in seen]).tolist()
        assert glyphs.test_mask[splits["test"]].all()
        assert set(glyphs.labels[splits["test"]]) == set(range(5 * number))


def test_a_class_that_can_spare_no_images_keeps_them():
    glyphs = Glyphs(("armenian", "math"))
    stages = split_tasks(ClassIncrementalScenario(glyphs, class_groups="natural"), 0.2, seed=0)
    in_training = np.bincount(glyphs.labels[~glyphs.test_mask])
    in_val = np.bincount(glyphs.labels[stages[1].val.indices], minlength=len(in_training))
    few = [label for label in stages[1].task.labels if in_training[label] < 4]
    assert few
    assert not in_val[few].any()


@pytest.mark.parametrize("fraction", [0, 1, -0.5])
def test_a_fraction_is_between_0_and_1(glyphs, fraction):
    with pytest.raises(ValueError, match="val_fraction must be between 0 and 1, got"):
        split_tasks(ClassIncrementalScenario(glyphs, class_groups="natural"), fraction, seed=0)


def test_the_seed_decides_what_is_held_out(glyphs, stages):
    scenario = ClassIncrementalScenario(glyphs, class_groups="natural")
    again, other = (split_tasks(scenario, 0.25, seed)[0].val for seed in (0, 1))
    assert again.indices.tolist() == stages[0].val.indices.tolist()
    assert other.indices.tolist() != stages[0].val.indices.tolist()


def test_wanted_splits_are_those_there_are(stages):
    wanted = ["val", "seen_tasks", "task_1", "task_3"]
    assert stages[1].expand(wanted) == ["val", "task_1", "task_2"]
    assert stages[2].expand(["task_3", "test"]) == ["task_3", "test"]
    with pytest.raises(ValueError, match="names 'tets': there are train, val, test"):
        stages[0].expand(["tets"])


def test_a_task_is_searched_in_all_tasks_and_val_in_itself():
    splits = ["val", "test", "task_1", "task_2"]
    assert joint_gallery("task_2", splits) == ["task_2", "task_1"]
    assert joint_gallery("val", splits) == ["val"]
    assert joint_gallery("test", splits) == ["test"]
