"""A run's folder, opened again: its data and the models of its stages."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor, nn

from pml_incremental.config import ExperimentConfig, load_config, suggest
from pml_incremental.config.objects import spec_label
from pml_incremental.experiment.assembly import (
    build_models,
    build_scenario,
    build_strategy,
    choose_device,
)
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.running.outputs import as_picture
from pml_incremental.experiment.student import image_mode, without_sources
from pml_incremental.experiment.trained_weights import TrainedWeights
from pml_incremental.metrics import bootstrap_interval, reciprocal_rank
from pml_incremental.models import tensors_under
from pml_incremental.models.weights import MODEL
from pml_incremental.report.page import ClassChange, FoundImage, QueryChange, RunDetails
from pml_incremental.report.page.run_record import folder_to_give
from pml_incremental.scenarios import ClassIncrementalScenario, Task
from pml_incremental.search import ExactSearch, Lookup
from pml_incremental.storage import read_tensor_file
from pml_incremental.strategies import Strategy
from pml_incremental.testers import IncrementalTester
from pml_incremental.testers.deployment import cross_model_matrices, open_set

logger = logging.getLogger(__name__)

FORGOTTEN, PER_TASK, SHOWN, PIXELS = 6, 2, 4, 72


def device_at_hand(name: str) -> torch.device:
    """The device that a run was trained on or, where it is not there, what there is."""
    try:
        return choose_device(name)
    except ValueError:
        device = choose_device("auto")
        logger.warning("the run was trained on %s, which is not here: it is on %s", name, device)
        return device


class FinishedRun:
    """What a run measured and can still be asked."""

    def __init__(self, folder: Path) -> None:
        missing = [n for n in ("config.yaml", "metrics.json") if not (folder / n).is_file()]
        if missing:
            raise ValueError(
                f"{folder} is not the folder of a finished run: it has no "
                + f"{' and no '.join(missing)}; {folder_to_give(folder)}"
            )
        self.folder = folder
        self.config: ExperimentConfig = load_config([folder / "config.yaml"], [])
        self.device = device_at_hand(self.config.device)
        self._scenario: ClassIncrementalScenario | None = None

    @property
    def scenario(self) -> ClassIncrementalScenario:
        """Its tasks, read when first asked for."""
        if self._scenario is None:
            self._scenario = build_scenario(self.config)
        return self._scenario

    @property
    def strategies(self) -> list[str]:
        """Names of its strategies, as of their folders."""
        written = (self.folder / "metrics.json").read_text(encoding="utf-8")
        return list(json.loads(written)["strategies"])

    def weights(self, strategy: str, task: int) -> Path:
        """The file with the weights of a strategy's model after a task, counted from 1."""
        if strategy not in self.strategies:
            hint = suggest(strategy, self.strategies)
            raise ValueError(f"{self.folder} has no strategy {strategy!r}; {hint}")
        place = self.folder / strategy
        if task == 1 and self._shares_first_task(strategy):
            place = self.folder
        file = place / f"task_{task}" / MODEL
        if not file.is_file():
            raise ValueError(f"{file} is missing: the weights of that stage were not kept")
        return file

    def trained_weights(self, strategy: str, task: int) -> TrainedWeights:
        """The same with what model they are of."""
        found = TrainedWeights.read(self.weights(strategy, task), self.folder / "config.yaml")
        if found.image_mode is None:  # an earlier version wrote it
            found = replace(found, image_mode=image_mode(self.scenario))
        return found

    def built_strategies(self) -> dict[str, Strategy]:
        """The strategies of its config by their labels, built anew."""
        return {
            spec_label(spec): build_strategy(self.config, spec) for spec in self.config.strategies
        }

    def _shares_first_task(self, label: str) -> bool:
        """Whether a strategy's first model is that of plain training, as of most strategies."""
        strategy = self.built_strategies().get(label)
        return strategy is not None and strategy.shares_first_task

    def models(self, strategy: str, task: int) -> dict[str, nn.Module]:
        """Trunk and embedder of a strategy after a task; raises as :meth:`weights`."""
        file = self.weights(strategy, task)
        tensors = read_tensor_file(file, f"delete {file.parent} and start the run again").tensors
        models = build_models(without_sources(self.config), self.scenario[0], self.device)
        for name in ("trunk", "embedder"):
            models[name].load_state_dict(tensors_under(f"{name}.", tensors))
        return {name: models[name].eval() for name in ("trunk", "embedder")}

    def models_before_tasks(self) -> dict[str, nn.Module]:
        """Trunk and embedder as they were before any task, trained or not."""
        seed_everything(self.config.seed, 0)
        models = build_models(self.config, self.scenario[0], self.device)
        return {name: models[name].eval() for name in ("trunk", "embedder")}

    def tester(self) -> IncrementalTester:
        """The run's tester."""
        tester: IncrementalTester = self.config.tester.build(
            "tester", data_device=self.device, dataloader_num_workers=0
        )
        return tester

    def embed(self, models: dict[str, nn.Module]) -> tuple[list[Tensor], list[Tensor]]:
        """Embeddings and labels of the held-out images of each task, as the tester makes them."""
        tester = self.tester()
        embeddings, labels = [], []
        for task in self.scenario:
            x, y = tester.get_all_embeddings(task.test, models["trunk"], models["embedder"])
            embeddings.append(x.cpu())
            labels.append(y[:, 0].cpu())
        return embeddings, labels

    def stage_embeddings(
        self, strategy: str, advance: Callable[[], object] = lambda: None
    ) -> tuple[list[list[Tensor]], list[Tensor]]:
        """Embeddings by the model after each task: stage -> task -> (N, d); and labels by task."""
        stages: list[list[Tensor]] = []
        labels: list[Tensor] = []
        with torch.no_grad():
            for task in range(1, len(self.scenario) + 1):
                embeddings, labels = self.embed(self.models(strategy, task))
                stages.append(embeddings)
                advance()
        return stages, labels


def collect_details(
    run: FinishedRun, strategy: str, advance: Callable[[], object] = lambda: None
) -> RunDetails:
    """Look closely at one strategy of a run."""
    stages, labels = run.stage_embeddings(strategy, advance)
    tasks = list(run.scenario)
    ends = [first_places(x, y) for x, y in zip(stages[-1], labels, strict=True)]
    starts = [first_places(stages[j][j], y) for j, y in enumerate(labels)]
    with torch.no_grad():
        untrained, _ = run.embed(run.models_before_tasks())
    before = [stage[j] for j, stage in enumerate([untrained, *stages[:-1]])]
    seen = [
        TaskQueries(task, y, stages[j][j], starts[j])
        for j, (task, y) in enumerate(zip(tasks, labels, strict=True))
    ]
    cross, reindexed = cross_model_matrices(
        [torch.cat(stage) for stage in stages],
        torch.cat(labels),
        list(accumulate(map(len, labels))),
    )
    classes: list[ClassChange] = []
    for task, y, start, end in zip(tasks[:-1], labels, starts, ends, strict=False):
        classes += class_changes(task, y, start, end)
    return RunDetails(
        interval=bootstrap_interval([_hits(end).tolist() for end in ends]),
        classes=sorted(classes, key=lambda change: change.end - change.learned),
        queries=forgotten_queries(seen, stages[-1], ends),
        lessons=lessons(seen, before),
        cross=cross,
        reindexed=reindexed,
        open_set=[_open_set(stage, labels, seen) for seen, stage in enumerate(stages[:-1], 1)],
    )


def _open_set(
    embeddings: Sequence[Tensor], labels: Sequence[Tensor], seen: int
) -> tuple[float, float]:
    names = [str(number) for number in range(len(labels))]
    x, y = dict(zip(names, embeddings, strict=True)), dict(zip(names, labels, strict=True))
    found = open_set(x, y, names[:seen])
    return found.auroc, found.fpr_at_95_tpr


def _hits(places: Tensor) -> Tensor:
    return torch.where(places.isnan(), torch.nan, (places == 1).double())


def class_changes(task: Task, labels: Tensor, start: Tensor, end: Tensor) -> list[ClassChange]:
    """Recall@1 of each class of a task that has any, when learned and at the end."""
    changes = []
    for label, name in zip(task.labels, task.class_names, strict=True):
        of_class = (labels == label) & ~start.isnan()
        if of_class.any():
            learned, last = (float(_hits(places)[of_class].mean()) for places in (start, end))
            changes.append(ClassChange(name, task.number, learned, last))
    return changes


@dataclass(frozen=True)
class TaskQueries:
    """The held-out images of a task, as the model that has just learned it sees them."""

    task: Task  # the task
    labels: Tensor  # shape (N,)
    embeddings: Tensor  # shape (N, d)
    places: Tensor  # see :func:`first_places`, shape (N,)

    def change(
        self, query: int, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]
    ) -> QueryChange:
        """What one of them finds with two models, each given by embeddings and places."""
        return QueryChange(
            query=self._found([query], query)[0],
            task=self.task.number,
            place_before=int(before[1][query]),
            place_after=int(after[1][query]),
            before=self._nearest(before[0], query),
            after=self._nearest(after[0], query),
        )

    def _nearest(self, embeddings: Tensor, query: int) -> list[FoundImage]:
        asked = range(query, query + 1)
        search = ExactSearch(embeddings, self.labels)
        rows = search.nearest(asked, range(len(self.labels)), SHOWN)[0]
        return self._found(rows.tolist(), query)

    def _found(self, rows: Sequence[int], query: int) -> list[FoundImage]:
        pictures, first = self.task.test.with_transform(as_picture), self.task.labels.start
        items = [pictures[row] for row in rows]
        asked = int(self.labels[query])
        return [
            FoundImage(_thumbnail(image), self.task.class_names[label - first], label == asked)
            for image, label in items
        ]


def first_places(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Where each image's nearest same-class image stands, NaN if there is none, shape (N,)."""
    every = range(len(labels))
    (found,) = ExactSearch(embeddings, labels).rank_matches([Lookup(every, every, depth=None)])
    return torch.where(found.answerable, 1 / reciprocal_rank(found), torch.nan)


def forgotten_queries(
    tasks: Sequence[TaskQueries], last: Sequence[Tensor], ends: Sequence[Tensor]
) -> list[QueryChange]:
    """The queries that found their class first when it was learned and miss it most at the end."""
    lost = [
        (float(end[q]), j, q)
        for j, (queries, end) in enumerate(zip(tasks[:-1], ends, strict=False))
        for q in torch.nonzero((queries.places == 1) & (end > 1)).flatten().tolist()
    ]
    worst = sorted(lost, key=lambda entry: (-entry[0], entry[1:]))[:FORGOTTEN]
    return [
        tasks[j].change(q, (tasks[j].embeddings, tasks[j].places), (last[j], ends[j]))
        for _, j, q in worst
    ]


def lessons(tasks: Sequence[TaskQueries], before: Sequence[Tensor]) -> list[QueryChange]:
    """Queries spread evenly over each task, before and after it was learned."""
    changes = []
    for queries, old in zip(tasks, before, strict=True):
        answerable = torch.nonzero(~queries.places.isnan()).flatten().tolist()
        places = first_places(old, queries.labels)
        step = max(1, len(answerable) // PER_TASK)
        for query in answerable[::step][:PER_TASK]:
            after = (queries.embeddings, queries.places)
            changes.append(queries.change(query, (old, places), after))
    return changes


def _thumbnail(image: Image) -> Image:
    small = image.copy()
    small.thumbnail((2 * PIXELS, 2 * PIXELS))
    return small
