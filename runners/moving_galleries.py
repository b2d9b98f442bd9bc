"""How well the first task's gallery moves to the model after the second, without its images.

    python runners/moving_galleries.py runs/glyphs/seed_0 runs/glyphs/seed_1 --strategy fecd

The gallery is the first task's training images, the queries its held-out ones. Maps are learned
from the second task's training images. In percent Recall@1, a line for each run and the mean.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from pml_incremental.estimators import LinearEstimator
from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.gallery.update import map_of_copies
from pml_incremental.scenarios import TaskSubset

COLUMNS = ("old in old", "new in old", "ridge 0.1", "upright", "turned too", "embedded anew")


def embed(run: FinishedRun, models: dict[str, nn.Module], images: TaskSubset) -> Tensor:
    tester = run.tester()
    found = tester.get_all_embeddings(images, models["trunk"], models["embedder"])[0]
    return F.normalize(found.cpu().float(), dim=1)


def turned(images: TaskSubset, quarter_turns: int) -> TaskSubset:
    prepare: Any = images.transform
    return images.with_transform(lambda image: prepare(image.rotate(90 * quarter_turns)))


def measure(folder: Path, strategy: str) -> list[float]:
    """A row of the table."""
    run = FinishedRun(folder)
    old, new = (run.models(strategy, task) for task in (1, 2))
    first, second = run.scenario[0], run.scenario[1]
    as_tested = first.test.transform
    gallery, queries = first.train.with_transform(as_tested), first.test
    learned = second.train.with_transform(as_tested)
    copies = [turned(learned, turns) for turns in range(4)]
    before, after = ([embed(run, m, part) for part in copies] for m in (old, new))
    stored, anew = embed(run, old, gallery), embed(run, new, gallery)
    asked_old, asked_new = embed(run, old, queries), embed(run, new, queries)
    classes = np.asarray(learned.labels).tolist()

    def recall(asked: Tensor, found_in: Tensor) -> float:
        nearest = (asked @ F.normalize(found_in, dim=1).T).argmax(1)
        hits = np.asarray(gallery.labels)[nearest] == np.asarray(queries.labels)
        return 100 * float(hits.mean())

    ridge = LinearEstimator()
    ridge.observe(after[0], before[0])
    ridge.fit()
    upright = map_of_copies(before[:1], after[:1], classes)
    both = map_of_copies(before, after, classes)
    return [
        recall(asked_old, stored),
        recall(asked_new, stored),
        recall(asked_new, ridge.estimate(stored)[0]),
        recall(asked_new, upright.apply(stored)),
        recall(asked_new, both.apply(stored)),
        recall(asked_new, anew),
    ]


def show(name: str, values: Sequence[float]) -> None:
    print(f"{name:24}", *(f"{value:13.1f}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--strategy", default="function-matching")
    options = parser.parse_args()
    print(f"{'run':24}", *(f"{name:>13}" for name in COLUMNS))
    rows = []
    for folder in options.runs:
        rows.append(measure(folder, options.strategy))
        show(f"{folder.parent.name}/{folder.name}", rows[-1])
    show("mean", np.mean(rows, axis=0).tolist())


if __name__ == "__main__":
    main()
