"""What is suggested for folders of many kinds."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_incremental.config import config_from, parse_yaml, validate
from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.suggestions.choices import (
    FewClassesError,
    choose_batch,
    choose_trunk,
    cut,
    first_config,
    suggest_tasks,
    task_sizes,
    usable_counts,
)
from pml_incremental.suggestions.survey import HELD_OUT, ClassCount, Survey
from pml_incremental.suggestions.survey import survey_folder as survey
from pml_incremental.wording import counted

COUNTS = st.builds(ClassCount, st.integers(0, 30), st.integers(0, 9))


def make_survey(counts, short_side=24, has_split=True):
    names = {f"class_{number:03}": count for number, count in enumerate(counts)}
    return Survey(Path("folder"), names, has_split, (short_side,))


def config_of(text):
    config = config_from([("text", parse_yaml(text))], (), "text")
    validate(config)
    return config


@given(st.integers(4, 1000))
def test_tasks_take_all_classes_and_have_two_at_least(classes):
    sizes = task_sizes(classes)
    assert sum(sizes) == classes
    assert min(sizes) >= 2
    assert sizes[0] == max(sizes)


@pytest.mark.parametrize(
    ("classes", "tasks", "sizes"),
    [
        (9, None, [5, 4]),
        (48, None, [24, 8, 8, 8]),
        (8, 3, [4, 2, 2]),
        (9, 1, [9]),
        (16, 5, [8, 2, 2, 2, 2]),
    ],
)
def test_as_many_tasks_as_wanted(classes, tasks, sizes):
    assert task_sizes(classes, tasks) == sizes
    found = make_survey([ClassCount(8, 2)] * classes)
    assert [len(task) for task in suggest_tasks(found, tasks)] == sizes


def test_too_few_classes_for_the_tasks_wanted():
    with pytest.raises(FewClassesError, match=r"has 8 classes that.*, and 4 tasks need 12: add"):
        suggest_tasks(make_survey([ClassCount(8, 2)] * 8), tasks=4)


@given(st.lists(COUNTS, min_size=1, max_size=60))
@settings(deadline=None)
def test_tasks_can_fill_the_batch_whatever_is_left_out(counts):
    found = make_survey(counts)
    if len(found.usable) < 4:
        with pytest.raises(FewClassesError, match=f"has {counted(len(found.usable), 'class')}"):
            suggest_tasks(found)
        return
    tasks = suggest_tasks(found)
    assert [name for task in tasks for name in task] == list(found.counts)
    usable = [usable_counts(found, task) for task in tasks]
    assert [len(task) for task in usable] == task_sizes(len(found.usable))
    batch = choose_batch(usable)
    assert batch.size % batch.per_class == 0
    assert batch.per_class >= 2
    for task in usable:
        assert len(task) >= batch.size // batch.per_class
        assert sum(count.train for count in task) >= batch.size
    # Classes left out do not count in the sizes.
    small, large = ClassCount(1, 0), ClassCount(8, 2)
    found = make_survey([small, large, large, small, large, small, large, small])
    assert [len(task) for task in cut(found, [2, 2])] == [4, 4]


@pytest.mark.parametrize(
    ("short_side", "size"), [(9, 32), (40, 32), (64, 64), (120, 96), (4000, 128)]
)
def test_images_are_made_no_larger_than_they_are_but_for_tiny_ones(short_side, size):
    trunk = choose_trunk(short_side, 500, has_efficientnet=True)
    assert trunk.image_size(short_side) == size
    assert trunk.is_deep == (short_side > 40)


@pytest.mark.parametrize(
    ("short_side", "images", "has_efficientnet", "trunk"),
    [
        (20, 50_000, True, "SmallConvNet"),
        (300, 100, True, "efficientnet_lite0"),
        (300, 100, False, "SmallConvNet"),  # a deep one would end worse than it began
        (300, 50_000, False, "resnet18"),
    ],
)
def test_a_deep_trunk_needs_weights_or_many_images(short_side, images, has_efficientnet, trunk):
    assert list(choose_trunk(short_side, images, has_efficientnet).config) == [trunk]


@pytest.mark.parametrize("has_efficientnet", [True, False])
@pytest.mark.parametrize("short_side", [20, 300])
@pytest.mark.parametrize("classes", [4, 100])
def test_the_config_is_valid(monkeypatch, short_side, classes, has_efficientnet):
    module = "pml_incremental.suggestions.choices.find_spec"
    monkeypatch.setattr(module, lambda _: object() if has_efficientnet else None)
    found = make_survey([ClassCount(8, 2)] * classes, short_side, has_split=False)
    text = first_config(found, "shop", "heading")
    config = config_of(text)
    assert text.startswith("# heading\nname: shop\n")
    names = [spec.class_name for spec in config.strategies]
    assert names == ["finetune", "function-matching"]
    pretrained = short_side == 300 and has_efficientnet
    assert config.trainer.kwargs["freeze_trunk_batchnorm"] == (pretrained or "with_teacher")
    assert config.scenario.kwargs["test_fraction"] == HELD_OUT.test_fraction


@pytest.mark.parametrize("has_split", [True, False])
def test_the_survey_counts_as_the_scenario_splits(draw_classes, tmp_path, has_split):
    sizes = {"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 17, "g": 40}
    for name, images in sizes.items():
        for side in ("train", "test") if has_split else ("",):
            draw_classes(tmp_path / side, [name], images=images)
    found = survey(tmp_path)
    assert found.has_split is has_split
    assert found.images == sum(sizes.values()) * (1 + has_split)
    assert found.left_out == (["a"] if has_split else ["a", "b", "c"])
    scenario = build_scenario(config_of(first_config(found, "shop", "")))
    assert list(scenario.dropped_classes) == found.left_out
    counted = {
        name: ClassCount(sum(task.train.labels == label), sum(task.test.labels == label))
        for task in scenario
        for label, name in zip(task.labels, task.class_names, strict=True)
    }
    assert counted == {name: found.counts[name] for name in found.usable}
    assert [len(task.classes) for task in scenario] == task_sizes(len(found.usable))


def test_what_is_said_of_a_folder(draw_classes, tmp_path):
    draw_classes(tmp_path, ["cat", "dog"], images=6)
    draw_classes(tmp_path, ["emu"], images=1)
    (tmp_path / "cat" / "old.gif").write_bytes(b"GIF89a")
    assert survey(tmp_path).describe() == [
        "13 images of 3 classes, 1 to 6 each (median 6); short side 20 pixels (median)",
        "classes left out: 1, emu",
        "  (a class needs 4 images: 2 to learn from, 2 to test with)",
        "files left out: 1, cat/old.gif",
        "  (images are files ending in .jpg, .jpeg, .png, .webp)",
    ]
    with pytest.raises(FewClassesError, match=r"has 2 classes that.*and 2 tasks need 4") as caught:
        first_config(survey(tmp_path), "shop", "")
    assert "classes left out: 1, emu" in str(caught.value)


def test_equal_classes_are_not_said_to_differ(draw_classes, tmp_path):
    draw_classes(tmp_path, "a")
    assert "8 images of 1 class, 8 each;" in survey(tmp_path).describe()[0]
    draw_classes(tmp_path, "b")
    assert "16 images of 2 classes, 8 each;" in survey(tmp_path).describe()[0]


def test_images_that_cannot_be_read_are_named_or_left_out(draw_classes, tmp_path):
    draw_classes(tmp_path, "abcd", images=5)
    (tmp_path / "a/0.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"images that cannot be read: 1;.*") as caught:
        survey(tmp_path)
    assert "a/0.png" in str(caught.value)
    assert survey(tmp_path, look=False).images == 20
    found = survey(tmp_path, on_bad_image="skip")
    assert found.images == 19
    config = config_of(first_config(found, "shop", ""))
    assert config.dataset.kwargs["on_bad_image"] == "skip"
    assert len(build_scenario(config)) == 2


def test_names_of_folders_stay_in_comments(draw_classes, tmp_path):
    names = ["a\nname: other", "b: {c", "#d", "'e"]
    draw_classes(tmp_path / "odd\n: folder", names, images=4)
    text = first_config(survey(tmp_path / "odd\n: folder"), "shop", "odd\nseed: 7")
    config = config_of(text)
    assert (config.name, config.seed) == ("shop", 0)
    assert config.dataset.kwargs["root"] == str(tmp_path / "odd\n: folder")
