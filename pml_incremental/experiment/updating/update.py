"""One incremental step from a model to a new one, on new images alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pml_incremental.config import ConfigError, ExperimentConfig, ObjectSpec
from pml_incremental.config.objects import spec_label
from pml_incremental.datasets import ImageFolder
from pml_incremental.datasets.image_files import WHITE, OnBadImage
from pml_incremental.experiment.assembly import build_strategy
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.experiment.running.run import run
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.trained_weights import TrainedWeights
from pml_incremental.experiment.updating.update_config import update_config
from pml_incremental.metrics.task_matrix import RECALL_AT_1, without_nan
from pml_incremental.models.weights import describe_missing
from pml_incremental.report.results import Change, FolderRecall, Update, verdict
from pml_incremental.scenarios import Task, TaskSubset
from pml_incremental.storage import read_tensor_file, write_tensor_file, write_text_whole
from pml_incremental.storage.whole_file import sha256

_OF_OTHER_SEARCHES = ("metrics", "ks", "index", "nprobe")

_FILE = "old_weights.json"

NEW_IMAGES = "new images held out"


def update(
    weights: Path,
    data: Path,
    out: Path,
    *,
    tests: Sequence[Path] = (),
    strategy: str = "function-matching",
    embedder: Path | None = None,
    config: Path | None = None,
    weights_prefix: str = "",
    allow_imports: Sequence[str] = (),
    overrides: Sequence[str] = (),
    on_bad_image: OnBadImage = "raise",
    progress: bool = True,
) -> Update:
    """Teach a model the classes of a folder of new images, and hold on to what it knows.

    It is a run of one task, in ``<out without suffix>_update`` beside the new file, that starts
    from the given weights and learns beside a frozen copy of them. The same call resumes one that
    was killed. A fifth of the new images is held out and not learned from.

    Args:
        weights: of the model as it is: ``model.safetensors`` of a run or what this function wrote,
            or another file of weights with ``config``.
        data: new images, in a folder for each class.
        out: the ``.safetensors`` file to write.
        tests: folders of images to measure both models with.
        strategy: what holds the old classes, with options as in YAML
            (``"correlation: {weight: 40}"``).
        embedder: a file of its own with the embedder's weights, if there is one.
        config: a YAML file that says what model the weights are of (``models``, ``transforms``).
        weights_prefix: of the names in the files that are meant, where several models fit.
        allow_imports: modules of your own whose classes the model may be made of.
        overrides: ``key.sub=value`` of the run's config.
        on_bad_image: ``"raise"`` an error about images that cannot be read, or ``"skip"`` them.
        progress: whether to show a progress bar.

    Returns:
        The new file, and Recall@1 of both models.

    Raises:
        ConfigError: if ``out`` is there, nothing says what model the weights are of, the strategy
            cannot hold on to it, or the config is not valid.
        ValueError: if a folder or a file is not as above, or the old weights have changed since an
            update that was killed.
        RunInterrupted: if a signal asked to stop.
    """
    _check_places(weights, data, out, tests)
    trained = TrainedWeights.read(weights, config, embedder, weights_prefix, allow_imports)
    found = update_config(
        trained, data, _run_name(out), strategy, overrides, out.parent, on_bad_image, progress
    )
    label = _check_strategy(found)
    images = MeasuredFolders(
        name_folders(tests), on_bad_image, progress, found.transforms.background
    )
    check_old_weights(found, trained.files)
    run(found, progress=progress)
    finished = FinishedRun(found.output / found.name)
    splits = images.splits(finished.scenario[0], NEW_IMAGES)
    with torch.no_grad():
        before, hits = measure(finished, finished.models_before_tasks(), splits)
        after, hits_after = measure(finished, finished.models(label, 1), splits)
    changes = {name: Change.of(hits[name], hits_after[name]) for name in hits}
    _write_recall(finished.folder / "update.json", before, after, changes)
    learned = read_tensor_file(finished.weights(label, 1), f"delete {finished.folder}")
    write_tensor_file(out, learned.tensors, learned.state)
    said = _said_by_components(finished.folder / label)
    share, rotated = said.get("new_share"), said.get("rotated")
    return Update(out, finished.folder, before, after, share, changes, rotated)


def _check_places(weights: Path, data: Path, out: Path, tests: Sequence[Path]) -> None:
    problems = []
    if out.suffix != ".safetensors":
        problems.append(f"{out}: the new weights are written as .safetensors; name such a file")
    if out.exists():
        problems.append(f"{out} exists; choose another name, or delete it")
    if not weights.is_file():
        problems.append(describe_missing(weights))
    if any(test.resolve() == data.resolve() for test in tests):
        problems.append(f"{data} cannot be a test folder: the update learns from it; leave it out")
    if problems:
        raise ConfigError(problems)


def _run_name(out: Path) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", out.stem) + "_update"


def _check_strategy(config: ExperimentConfig) -> str:
    """The label of the one strategy, if it can do something about forgetting in one step."""
    if len(config.strategies) != 1:
        raise ConfigError(["strategies: an update has one strategy; name one"])
    (spec,) = config.strategies
    strategy = build_strategy(config, spec)
    if strategy.later_images != "new":
        what = "trains on old images too" if strategy.later_images == "seen" else "does not train"
        raise ConfigError([f"strategies: {spec.class_name} {what}; use function-matching"])
    components = strategy.components
    if components and all(component.needs_memory for component in components):
        raise ConfigError(
            [
                f"strategies: {spec.class_name} uses what it kept from earlier tasks, which a "
                "weights file does not contain; use function-matching"
            ]
        )
    return spec_label(spec)


def _said_by_components(folder: Path) -> dict[str, Any]:
    """What those that changed the trained weights wrote of it."""
    file = folder / "task_1" / "memory.json"
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return found


def _write_recall(
    path: Path, before: FolderRecall, after: FolderRecall, changes: Mapping[str, Change]
) -> None:
    values = {
        "recall_at_1": {"before": before.to_dict(), "after": after.to_dict()},
        "changes": without_nan({name: asdict(change) for name, change in changes.items()}),
        "verdict": verdict(changes),
    }
    write_text_whole(path, json.dumps(values, indent=2) + "\n")


def check_old_weights(config: ExperimentConfig, weights: Sequence[Path]) -> None:
    """Note in the run's folder which old weights it begins with, or check that they are those.

    They may lie elsewhere by now: what is in them counts.
    """
    path = config.output / config.name
    now = {str(file): sha256(file) for file in weights}
    noted = RunFolder.opened(path).read_json(_FILE) or {}
    at = {checksum: file for file, checksum in now.items()}
    moved = {file: at[checksum] for file, checksum in noted.items() if checksum in at}
    folder = RunFolder(path, config.to_yaml_dict(), moved=moved)
    before = folder.noted_at_start(_FILE, now)
    changed = [file for file in now if now[file] not in before.values()]
    if changed:
        raise ValueError(
            f"{', '.join(changed)} has changed since {folder.path} was started with it: restore "
            "it, or delete that folder and start the update again"
        )
    folder.write_checked_json(_FILE, now)


class MeasuredFolders:
    """Folders of images to measure with, their classes known by name."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        on_bad_image: OnBadImage = "raise",
        progress: bool = False,
        background: str = WHITE,
    ) -> None:
        self.folders = {
            name: ImageFolder(
                root, on_bad_image=on_bad_image, progress=progress, background=background
            )
            for name, root in folders.items()
        }

    def splits(self, new: Task, name_of_new: str) -> dict[str, TaskSubset]:
        """The folders' images and a task's held-out ones, with one label per class name."""
        known = [folder.classes for folder in self.folders.values()]
        names = sorted({*new.class_names, *(name for classes in known for name in classes)})
        number = {name: place for place, name in enumerate(names)}
        splits = {
            name: _subset(folder, number, new.test.transform)
            for name, folder in self.folders.items()
        }
        labels = [number[new.class_names[label - new.labels.start]] for label in new.test.labels]
        splits[name_of_new] = TaskSubset(
            new.test.dataset,
            new.test.indices,
            np.array(labels, dtype=np.int64),
            new.test.original_labels,
            new.test.transform,
        )
        return splits


def measure(
    run: FinishedRun, models: Mapping[str, nn.Module], splits: Mapping[str, TaskSubset]
) -> tuple[FolderRecall, dict[str, Tensor]]:
    """What a model finds, with the run's tester, and which queries among all images find it."""
    spec = run.config.tester
    kwargs = {key: value for key, value in spec.kwargs.items() if key not in _OF_OTHER_SEARCHES}
    tester = ObjectSpec(
        class_name=spec.class_name, kwargs={**kwargs, "metrics": [RECALL_AT_1], "ks": [1]}
    ).build("tester", data_device=run.device, dataloader_num_workers=0)
    found = tester.evaluate(splits, models["trunk"], models["embedder"])
    recall = FolderRecall(dict(found.own[RECALL_AT_1]), dict(found.joint[RECALL_AT_1]))
    if not found.ranks:  # a calculator of your own says nothing of single queries
        return recall, {}
    return recall, {name: found.per_query(RECALL_AT_1, "joint", name) for name in splits}


def name_folders(folders: Sequence[Path]) -> dict[str, Path]:
    """Folders by what to call them: their path as it was given."""
    named = {str(folder): folder for folder in folders}
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("a folder to test with is given twice: leave one out")
    return named


def _subset(folder: ImageFolder, number: Mapping[str, int], transform: Any) -> TaskSubset:
    """A folder's images or, if it is split, those under ``test``."""
    is_test = np.ones(len(folder), bool) if folder.test_mask is None else folder.test_mask
    chosen = np.flatnonzero(is_test)
    original = np.asarray(folder.labels)[chosen]
    labels = np.array([number[folder.classes[label]] for label in original], dtype=np.int64)
    return TaskSubset(folder, chosen, labels, original, transform)
