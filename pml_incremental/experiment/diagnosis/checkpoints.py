"""How well estimators know the earlier ones of several checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from pml_incremental.config import ConfigError
from pml_incremental.datasets.image_files import OnBadImage
from pml_incremental.experiment.assembly import (
    batch_size,
    build_models,
    build_scenario,
    choose_device,
)
from pml_incremental.experiment.diagnosis.bank_replay import (
    REPLAYED,
    Candidate,
    as_candidate,
    bytes_of,
    estimation_of_fecd,
    teach_banks,
)
from pml_incremental.experiment.diagnosis.diagnosis import compare, write_diagnosis
from pml_incremental.experiment.environment import apply_torch_settings, seed_everything
from pml_incremental.experiment.running.run_folder import RunFolder
from pml_incremental.experiment.trained_weights import TrainedWeights
from pml_incremental.experiment.updating.update_config import update_config
from pml_incremental.models.weights import describe_missing
from pml_incremental.report.results import Diagnosis
from pml_incremental.trainers import Teacher

# It learns from what models recognise in earlier tasks, of which checkpoints say nothing.
_NEEDS_A_RUN = "AccuracyChangeEstimator"


def diagnose_checkpoints(
    trained: TrainedWeights,
    priors: Sequence[Path],
    data: Path,
    folder: Path,
    *,
    on_bad_image: OnBadImage = "raise",
    progress: bool = True,
) -> Diagnosis:
    """Compare what estimators make of earlier checkpoints with those checkpoints themselves.

    It says whether ``fecd`` would know the earlier models, before anything is learned with it. The
    estimators learn each step from a model to the next on the images of a folder but the fifth of
    them that is held out, as ``fecd`` does on new images; see :func:`diagnose`.

    Args:
        trained: the newest model, which would be the teacher.
        priors: weights of the same network before, oldest first.
        data: new images, in a folder for each class.
        folder: where ``diagnosis.json``, ``diagnosis.csv`` and ``pictures/estimation_error.png``
            are written; it must not be there.
        on_bad_image: ``"raise"`` an error about images that cannot be read, or ``"skip"`` them.
        progress: whether to show progress bars.

    Returns:
        The numbers.

    Raises:
        ConfigError: if there is no earlier model, nothing says what model the weights are of, or
            the folder is there.
        ValueError: if a file or a folder is not as above.
    """
    problems = [describe_missing(file) for file in priors if not file.is_file()]
    if not priors:
        problems.append("command line: there is no earlier model; name at least one with --prior")
    if trained.embedder is not None:
        problems.append(
            "command line: --embedder: each of several models has its own; save each trunk and "
            "embedder in one file"
        )
    if folder.exists():
        problems.append(f"{folder} exists; choose another name, or delete it")
    if problems:
        raise ConfigError(problems)
    config = update_config(
        trained, data, "diagnosis", "finetune", on_bad_image=on_bad_image, progress=progress
    )
    apply_torch_settings(config)
    task = build_scenario(config)[0]
    models = []
    for file in [*priors, trained.file]:
        filled = replace(trained, file=file).filled_in(config)
        models.append(Teacher(**build_models(filled, task, choose_device(config.device))))
    sees = {"embeddings"} if config.models.embedder is None else {"embeddings", "trunk"}
    parts = [
        estimation_of_fecd(estimator, seen, "new")
        for estimator, seen in REPLAYED
        if estimator != _NEEDS_A_RUN and seen in sees
    ]
    number = len(models) + 1  # of the task that would come next
    steps = enumerate(pairwise(models), start=3)
    for task_number, (leaving, coming) in tqdm(
        steps, "diagnose", total=len(priors), disable=not progress
    ):
        seed_everything(config.seed, task_number, 2)  # as a run does it
        teach_banks(parts, task.train, leaving, coming)
    candidates = [Candidate.of_teacher(len(priors)), *map(as_candidate, parts)]
    rows = tuple(compare(config, trained.file.stem, models, number, task, candidates))
    diagnosis = Diagnosis(config.name, batch_size(config), bytes_of(models[:-1]), rows)
    write_diagnosis(diagnosis, RunFolder.opened(folder))
    return diagnosis
