import copy
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from pml_incremental.datasets import Glyphs
from pml_incremental.scenarios import ClassIncrementalScenario, Task


class Toy:
    """A dataset whose images are their own indices."""

    def __init__(self, labels, attribute="labels", form="tuple", **facts):
        setattr(self, attribute, labels)
        self.listed = list(labels)
        self.form = form
        for name, value in facts.items():
            setattr(self, name, value)

    def __len__(self):
        return len(self.listed)

    def __getitem__(self, index):
        label = self.listed[index]
        return (index, label) if self.form == "tuple" else {"data": index, "label": label}


ANIMALS = ["cat", "dog", "eel", "fox"]


def animals(per_class=8, **facts):
    return Toy([label for _ in range(per_class) for label in range(4)], classes=ANIMALS, **facts)


def held_out(scenario):
    return {i for task in scenario for i in task.test.indices.tolist()}


@st.composite
def streams(draw):
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    n_classes = sum(sizes) + draw(st.integers(0, 3))
    counts = draw(st.lists(st.integers(4, 9), min_size=n_classes, max_size=n_classes))
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    draw(st.randoms(use_true_random=False)).shuffle(labels)
    order = draw(st.sampled_from([None, "random"]) | st.permutations(range(n_classes)))
    return sizes, labels, order, draw(st.integers(0, 1000))


@given(streams())
def test_tasks_are_disjoint_and_complete(stream):
    sizes, labels, order, seed = stream
    dataset = Toy(labels)
    scenario = ClassIncrementalScenario(dataset, sizes, class_order=order, seed=seed)
    assert [len(task.classes) for task in scenario] == sizes
    brought = [label for task in scenario for label in task.classes]
    assert len(set(brought)) == len(brought)
    assert scenario.classes == tuple(brought)
    assert sorted([*brought, *scenario.unused_classes]) == sorted(set(labels))
    assert not scenario.dropped_classes
    for t, task in enumerate(scenario, start=1):
        assert (task.number, task.name) == (t, f"task_{t}")
        images = [*task.train.indices.tolist(), *task.test.indices.tolist()]
        expected = [i for i, label in enumerate(labels) if label in task.classes]
        assert sorted(images) == expected


@given(streams())
def test_labels_are_in_order_of_arrival(stream):
    sizes, labels, order, seed = stream
    scenario = ClassIncrementalScenario(Toy(labels), sizes, class_order=order, seed=seed)
    for t in range(1, len(scenario) + 1):
        seen = [label for task in scenario.seen(t) for label in task.labels]
        assert seen == list(range(sum(sizes[:t])))
    for task in scenario:
        for subset in (task.train, task.test):
            for position, index in enumerate(subset.indices):
                image, label = subset[position]
                assert image == index
                assert label == subset.labels[position]
                assert scenario.classes[label] == labels[index]
                assert label in task.labels
            assert subset.labels.dtype == np.int64
            assert set(subset.labels.tolist()) == set(task.labels)


@given(streams(), st.floats(0.01, 0.99), st.integers(1, 2), st.integers(1, 2))
def test_each_class_is_split_by_the_fraction(stream, fraction, min_train, min_test):
    sizes, labels, order, seed = stream
    bounds = {"test_fraction": fraction, "min_train": min_train, "min_test": min_test}
    scenario = ClassIncrementalScenario(Toy(labels), sizes, class_order=order, seed=seed, **bounds)
    for task in scenario:
        for original, label in zip(task.classes, task.labels, strict=True):
            n_test, n_train = ((s.labels == label).sum() for s in (task.test, task.train))
            n_images = labels.count(original)
            assert n_test + n_train == n_images
            assert n_test >= min_test
            assert n_train >= min_train
            wanted = min(max(round(fraction * n_images), min_test), n_images - min_train)
            assert n_test == wanted


@given(st.permutations(range(8)))
def test_split_does_not_depend_on_the_order_of_classes(order):
    labels = [label for label in range(8) for _ in range(6)]
    plain = ClassIncrementalScenario(Toy(labels), [8])
    ordered = ClassIncrementalScenario(Toy(labels), [3, 5], class_order=order)
    assert held_out(plain) == held_out(ordered)
    shuffled = ClassIncrementalScenario(Toy(labels), [2, 6], class_order="random")
    assert held_out(plain) == held_out(shuffled)


def test_split_depends_on_the_seed_and_on_nothing_else():
    first = ClassIncrementalScenario(animals(), [2, 2], class_order="random", seed=3)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = ClassIncrementalScenario(animals(), [2, 2], class_order="random", seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    assert again.classes == first.classes
    assert held_out(again) == held_out(first)
    others = [ClassIncrementalScenario(animals(), [2, 2], seed=seed) for seed in range(4, 9)]
    assert any(held_out(other) != held_out(first) for other in others)


def test_another_class_does_not_change_the_split():
    with_ants = Toy([label + 1 for label in animals().listed] + [0] * 8, classes=["ant", *ANIMALS])
    images = held_out(ClassIncrementalScenario(with_ants, [5]))
    assert images - set(range(32, 40)) == held_out(ClassIncrementalScenario(animals(), [4]))


def test_random_order_depends_on_the_seed_and_the_split_is_not_the_same_in_every_class():
    data = Toy(np.repeat(np.arange(30), 10))
    scenarios = [ClassIncrementalScenario(data, [30], class_order="random", seed=s) for s in (0, 1)]
    assert len({scenario.classes for scenario in scenarios} | {tuple(range(30))}) == 3
    positions = scenarios[0][0].test.indices.reshape(30, 3) % 10
    assert len({tuple(row) for row in positions.tolist()}) > 5


LABEL_KINDS = {
    "list": [5, 3, 5, 3] * 3,
    "array": np.array([5, 3, 5, 3] * 3),
    "small integers": np.array([5, 3, 5, 3] * 3, dtype=np.uint8),
    "tensor": torch.tensor([5, 3, 5, 3] * 3),
    "list of tensors": [torch.tensor(5), torch.tensor(3)] * 6,
    "list of numpy integers": [np.int32(5), np.int64(3)][:1] * 6 + [np.int32(3)] * 6,
    "tuple": (5, 3) * 6,
    "negative": [-5, 3] * 6,
}


@pytest.mark.parametrize("form", ["tuple", "dict"])
@pytest.mark.parametrize("attribute", ["labels", "targets"])
@pytest.mark.parametrize("kind", LABEL_KINDS)
def test_integer_labels_of_any_kind(kind, attribute, form):
    labels = LABEL_KINDS[kind]
    scenario = ClassIncrementalScenario(Toy(labels, attribute, form), [1, 1])
    assert scenario.classes == tuple(sorted({int(x) for x in labels}))
    assert all(type(label) is int for label in scenario.classes)
    assert scenario.class_names == tuple(map(str, scenario.classes))
    for task in scenario:
        for subset in (task.train, task.test):
            items = [subset[i] for i in range(len(subset))]
            assert [label for _, label in items] == subset.labels.tolist()
            assert [int(labels[i]) for i, _ in items] == [task.classes[0]] * len(subset)


@pytest.mark.parametrize("labels", [["b", "a"] * 5, np.array(["b", "a"] * 5)])
def test_string_labels_are_their_own_names(labels):
    scenario = ClassIncrementalScenario(Toy(labels, classes=["z"]), class_groups=[["b"], ["a"]])
    assert scenario.classes == scenario.class_names == ("b", "a")
    assert scenario[1].test[0][1] == 1


def test_tensor_dataset_with_targets_over_which_labels_win():
    dataset = TensorDataset(torch.randn(12, 3), torch.arange(12) % 3)
    dataset.targets = dataset.tensors[1]
    scenario = ClassIncrementalScenario(dataset, [2, 1])
    images, labels = next(iter(DataLoader(scenario[1].train, batch_size=8)))
    assert images.shape == (2, 3)
    assert labels.tolist() == [2, 2]
    assert ClassIncrementalScenario(Toy([0, 1] * 5, targets=[7] * 10), [2]).classes == (0, 1)


def test_names_and_labels_find_the_same_class():
    by_name = ClassIncrementalScenario(animals(), class_groups=[["fox", "cat"], ["eel"]])
    by_label = ClassIncrementalScenario(animals(), class_groups=[[3, np.int64(0)], [2]])
    assert by_name.classes == by_label.classes == (3, 0, 2)
    assert by_name.class_names == ("fox", "cat", "eel")
    assert by_name[0].class_names == ("fox", "cat")
    assert by_name.unused_classes == (1,)
    assert by_name.unused_class_names == ("dog",)


def test_order_may_leave_classes_out():
    scenario = ClassIncrementalScenario(animals(), [1, 1], class_order=["fox", "cat", 2])
    assert scenario.classes == (3, 0)
    assert scenario.unused_classes == (1, 2)


def test_repeated_names_are_told_apart():
    dataset = Toy([0, 1, 2] * 5, classes=["crane", ("maillot", "tank suit"), "crane"])
    scenario = ClassIncrementalScenario(dataset, [3])
    assert scenario.class_names == ("crane (label 0)", "maillot, tank suit", "crane (label 2)")
    again = ClassIncrementalScenario(dataset, class_groups=[["crane (label 2)"]])
    assert again.classes == (2,)
    dataset = Toy([0, 1] * 5, classes=np.array(["sun", "moon"]))  # an array
    assert ClassIncrementalScenario(dataset, [2]).class_names == ("sun", "moon")


def test_natural_groups():
    dataset = animals(class_groups=[["eel"], [0, 1]])
    scenario = ClassIncrementalScenario(dataset, class_groups="natural")
    assert [task.classes for task in scenario] == [(2,), (0, 1)]
    assert scenario.unused_classes == (3,)


def test_scripts_are_natural_tasks():
    glyphs = Glyphs(("greek", "georgian"), max_classes_per_script=6)
    transforms = {"train_transform": np.asarray, "test_transform": np.asarray}
    scenario = ClassIncrementalScenario(glyphs, class_groups="natural", **transforms)
    assert len(scenario) == 2
    assert {task.test.image_name(0).split(" in ")[1] for task in scenario} == {"DejaVuSans-Oblique"}
    assert held_out(scenario) == set(np.flatnonzero(glyphs.test_mask))
    copied = pickle.loads(pickle.dumps(scenario))
    images, labels = next(iter(DataLoader(copied[1].test, batch_size=99, num_workers=1)))
    assert images.shape == (len(scenario[1].test), 32, 32)
    assert set(labels.tolist()) == set(range(6, 12))


@pytest.mark.parametrize("convert", [np.array, list, torch.tensor])
def test_own_split_is_kept(convert):
    mask = [i % 8 in (1, 2, 4, 7) for i in range(32)]
    dataset = animals(test_mask=convert(mask))
    scenario = ClassIncrementalScenario(dataset, [2, 2], class_order="random", seed=9)
    assert held_out(scenario) == {i for i in range(32) if mask[i]}


def test_is_a_sequence_of_tasks_with_transforms_per_split():
    transforms = {"train_transform": lambda i: ("train", i), "test_transform": str}
    scenario = ClassIncrementalScenario(animals(), [1, 2, 1], **transforms)
    assert scenario[0].train[0][0] == ("train", scenario[0].train.indices[0])
    assert scenario[0].test[0][0] == str(scenario[0].test.indices[0])
    assert len(scenario) == 3
    assert all(isinstance(task, Task) for task in scenario)
    assert scenario[-1].number == 3
    assert [task.number for task in scenario[1:]] == [2, 3]
    assert [task.number for task in reversed(scenario)] == [3, 2, 1]
    assert scenario.seen(2) == [scenario[0], scenario[1]]
    with pytest.raises(AttributeError):
        scenario[0].number = 5
    with pytest.raises(IndexError):
        scenario[3]
    for t in (0, 4, -1):
        message = f"t must be from 1 to 3, the number of tasks, got {t}"
        with pytest.raises(ValueError, match=message):
            scenario.seen(t)
    other = copy.deepcopy(scenario)
    other[1].train.labels[:] = 9
    assert scenario[1].train.labels.max() == 2  # copies are independent


def small_animals():
    labels = [0] * 8 + [1] * 3 + [2] * 8 + [3]
    return Toy(labels, classes=ANIMALS)


def test_small_classes_in_the_tasks_are_named():
    message = (
        r"classes with fewer than 2 training or 2 test images: 2; add images, or leave them out "
        r"with on_small_class: drop\n  dog: 1 training, 2 test\n  fox: 0 training, 1 test$"
    )
    with pytest.raises(ValueError, match=message):
        ClassIncrementalScenario(small_animals(), [2, 2])
    scenario = ClassIncrementalScenario(small_animals(), class_groups=[["cat"], ["eel"]])
    assert scenario.unused_classes == (1, 3)


def test_small_classes_can_be_dropped():
    scenario = ClassIncrementalScenario(small_animals(), [2, 2], on_small_class="drop")
    assert [task.classes for task in scenario] == [(0,), (2,)]
    assert scenario.class_names == ("cat", "eel")
    assert scenario.dropped_classes == {"dog": (1, 2), "fox": (0, 1)}
    assert scenario.dropped_classes["dog"].train == 1
    assert scenario.unused_classes == ()
    assert [task.labels for task in scenario] == [range(1), range(1, 2)]


def test_own_split_with_too_few_test_images():
    mask = np.zeros(32, dtype=bool)
    mask[[0, 4, 1, 5, 2]] = True
    with pytest.raises(ValueError, match="eel: 7 training, 1 test\n  fox: 8 training, 0 test"):
        ClassIncrementalScenario(animals(test_mask=mask), [4])


def test_minimum_numbers_of_images():
    with pytest.raises(ValueError, match=r"fewer than 6 training or 2 test images: 1;.*\n  dog: 1"):
        ClassIncrementalScenario(small_animals(), class_groups=[[0, 1]], min_train=6)
    scenario = ClassIncrementalScenario(small_animals(), [4], min_train=1, on_small_class="drop")
    assert scenario.dropped_classes == {"fox": (0, 1)}
    groups = [["cat"], ["dog", "fox"]]
    with pytest.raises(ValueError, match=r"task 2 has no class left.*too small: dog, fox"):
        ClassIncrementalScenario(small_animals(), class_groups=groups, on_small_class="drop")


EITHER = "give either classes_per_task or class_groups"
REPEATED = "must not share classes, but 'dog' is in task 1 and again in task 3"
ALL_FOUR = (
    "holds 77, which is not a class of the dataset; it has 4 classes: 'cat', 'dog', 'eel', 'fox'$"
)
ORDER = "class_order must be \"random\", a list of classes or None, got 'shuffled'"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, EITHER),
        ({"classes_per_task": [1], "class_groups": [[0]]}, ValueError, EITHER + ", and not both"),
        ({"classes_per_task": [2, 3]}, ValueError, r"for 5 classes \(2 \+ 3\), but .* only 4"),
        ({"classes_per_task": [2, 0]}, ValueError, "task 2 would be empty.* at least 1, got 0"),
        ({"classes_per_task": [-1]}, ValueError, "task 1 would be empty.* got -1"),
        ({"classes_per_task": []}, ValueError, "classes_per_task is empty"),
        ({"classes_per_task": [1.5]}, TypeError, "must hold integers, got 1.5 for task 1"),
        ({"classes_per_task": [True]}, TypeError, "must hold integers, got True for task 1"),
        ({"classes_per_task": 4}, TypeError, "classes_per_task must list the number.*got 4"),
        ({"class_groups": [["cat", "dog"], ["eel"], ["dog"]]}, ValueError, REPEATED),
        ({"class_groups": [["cat", 0]]}, ValueError, "'cat' is in task 1 and again in task 1"),
        ({"class_groups": [["cat"], []]}, ValueError, r"class_groups\[1\] \(task 2\) is empty"),
        ({"class_groups": []}, ValueError, "class_groups is empty"),
        ({"class_groups": ["cat", "dog"]}, TypeError, r"class_groups\[0\] \(task 1\) must be a li"),
        ({"class_groups": [0, 1]}, TypeError, "must be a list of classes, got 0"),
        (
            {"class_groups": [["cat"], ["dgo"]]},
            ValueError,
            r"class_groups\[1\] \(task 2\) holds 'dgo', which is not a class .* did you mean 'dog'",
        ),
        ({"class_groups": [[77]]}, ValueError, ALL_FOUR),
        (
            {"class_groups": [["0"]]},
            ValueError,
            "holds '0', which is not a class.*did you mean 0[?]",
        ),
        ({"class_groups": [[["cat"]]]}, ValueError, r"holds \['cat'\], which is not a class"),
        ({"class_groups": [[True]]}, ValueError, "holds True, which is not a class"),
        ({"class_groups": "scripts"}, ValueError, "\"natural\" or a list of lists, got 'scripts'"),
        ({"class_groups": "natural"}, ValueError, 'is "natural", but Toy has no class_groups'),
        (
            {"class_groups": [["cat"]], "class_order": "random"},
            ValueError,
            "class_order applies to classes_per_task only",
        ),
    ],
)
def test_bad_tasks(arguments, error, message):
    with pytest.raises(error, match=message):
        ClassIncrementalScenario(animals(), **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"class_order": "shuffled"}, ValueError, ORDER),
        ({"class_order": ["cat", "dog", "cat"]}, ValueError, "holds classes more than once: cat"),
        ({"class_order": ["cat", "foxx"]}, ValueError, "holds 'foxx'.*did you mean 'fox'"),
        ({"class_order": ["cat"]}, ValueError, r"for 2 classes \(1 \+ 1\), but .* only 1"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"seed": None}, TypeError, "seed must be an integer, got None"),
        ({"min_train": 0}, ValueError, "min_train must be at least 1"),
        ({"min_test": 0}, ValueError, "min_test must be at least 1"),
        ({"test_fraction": 1.0}, ValueError, "test_fraction must be between 0 and 1, got 1.0"),
        ({"test_fraction": "half"}, TypeError, "test_fraction must be a number, got 'half'"),
        ({"on_small_class": "skip"}, ValueError, 'must be "raise" or "drop", got \'skip\''),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        ClassIncrementalScenario(animals(), [1, 1], **arguments)


def test_class_that_is_named_but_has_no_image():
    dataset = Toy([0, 1] * 5, classes=["cat", "dog", "eel"])
    assert ClassIncrementalScenario(dataset, [2]).unused_classes == ()
    with pytest.raises(ValueError, match="holds 'eel', a class that no image of the dataset"):
        ClassIncrementalScenario(dataset, class_groups=[["eel"]])
    with pytest.raises(ValueError, match=r"holds 1, which is not a class.* did you mean '1'"):
        ClassIncrementalScenario(Toy(["1", "2"] * 5), class_groups=[[1]])  # written as labels are


@pytest.mark.parametrize(
    ("labels", "facts", "message"),
    [
        ([0, 1.5] * 5, {}, "labels of Toy must be all integers or all strings, got float and int"),
        ([0, "a"] * 5, {}, "got int and str"),
        (np.linspace(0, 1, 10), {}, "got float64"),
        (torch.zeros(10), {}, "got torch.float32"),
        ([True, False] * 5, {}, "got bool"),
        (np.zeros((5, 2), dtype=int), {}, r"Toy has 5 items but its labels have shape \(5, 2\)"),
        ([], {}, "Toy is empty"),
        ([0, 7] * 5, {"classes": ["a"]}, r"name 1 class, from 0 to 0, but images are labelled 7"),
        ([0, -1] * 5, {"classes": ["a"]}, "but images are labelled -1"),
        ([0] * 10, {"test_mask": [0, 1] * 5}, "must be booleans of shape .10,.*got int64"),
        ([0] * 10, {"test_mask": [True]}, r"one per item, got bool of shape \(1,\)"),
    ],
)
def test_bad_datasets(labels, facts, message):
    with pytest.raises(ValueError, match=message):
        ClassIncrementalScenario(Toy(labels, **facts), [1])


@pytest.mark.parametrize("attribute", ["labels", "targets"])
def test_labels_that_do_not_match_the_dataset(attribute):
    dataset = Toy([0, 1] * 5, attribute)
    setattr(dataset, attribute, [0, 1] * 4)
    message = rf"Toy has 10 items but its {attribute} have shape \(8,\): they must be one per item"
    with pytest.raises(ValueError, match=message):
        ClassIncrementalScenario(dataset, [2])


def test_dataset_without_labels_or_that_is_not_map_style():
    dataset = TensorDataset(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="TensorDataset has neither labels nor targets"):
        ClassIncrementalScenario(dataset, [1])
    with pytest.raises(TypeError, match="must be map-style, with a length and items; generator"):
        ClassIncrementalScenario((x for x in range(3)), [1])


def test_batches_that_do_not_fit_name_the_tasks():
    ClassIncrementalScenario(animals(), [2, 2]).check_batches(batch_size=8, per_class=4)
    scenario = ClassIncrementalScenario(animals(), [1, 2, 1])
    with pytest.raises(ValueError, match="a batch of 8 takes 2 classes with 4 images") as caught:
        scenario.check_batches(batch_size=8, per_class=4)
    assert "\n  task_1: 1 class, 6 training images" in str(caught.value)
    assert "task_2" not in str(caught.value)
    assert "task_3: 1 class," in str(caught.value)
    with pytest.raises(ValueError, match="task_2: 2 classes, 12 training images"):
        scenario.check_batches(batch_size=16, per_class=8)
    for size, per_class in ((8, 3), (8, 0), (2, 4), (-4, 4)):
        message = f"multiple of per_class.*got batch_size {size} and"
        with pytest.raises(ValueError, match=message):
            scenario.check_batches(size, per_class)
