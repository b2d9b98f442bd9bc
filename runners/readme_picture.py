"""The README's picture: the first task after further ones, by plain fine-tuning and by the default.

    pml-incremental run glyphs
    python runners/readme_picture.py runs/glyphs docs/pictures/demo.png

The queries shown are some that the model found when it had learned them, that fine-tuning then
lost, and that the other strategy still finds; the curves count all queries.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.report.style import (
    BLUE,
    FAINT,
    INK,
    RIGHT,
    VERMILION,
    WRONG,
    new_figure,
    quiet_axes,
    save_figure,
)

STRATEGIES = {
    "finetune": ("plain fine-tuning", VERMILION),
    "function-matching": ("this package", BLUE),
}
QUERIES = 3


def nearest(run: FinishedRun, strategy: str, task: int) -> Tensor:
    """For each held-out image of the first task, the place of the nearest other one."""
    models, test = run.models(strategy, task), run.scenario[0].test
    x = run.tester().get_all_embeddings(test, models["trunk"], models["embedder"])[0].cpu()
    scores = F.normalize(x, dim=1) @ F.normalize(x, dim=1).T
    return scores.fill_diagonal_(-torch.inf).argmax(dim=1)


def draw(run: FinishedRun, path: Path) -> None:
    tasks, test = len(run.scenario), run.scenario[0].test
    labels = torch.as_tensor(np.asarray(test.labels))
    found = {
        name: [nearest(run, name, task) for task in range(1, tasks + 1)] for name in STRATEGIES
    }
    hits = {name: [labels[places] == labels for places in rows] for name, rows in found.items()}
    figure = new_figure(10, 3.6)
    axes = figure.add_axes((0.05, 0.14, 0.39, 0.66))
    for name, (words, color) in STRATEGIES.items():
        recalls = [100 * float(stage.double().mean()) for stage in hits[name]]
        axes.plot(range(1, tasks + 1), recalls, "o-", color=color, linewidth=2.5, clip_on=False)
        text = f"{words}\n{recalls[-1]:.0f} %"
        axes.annotate(text, (tasks + 0.08, recalls[-1]), color=color, va="center", fontsize=11)
    axes.set(ylim=(0, 100), xlim=(0.9, tasks + 1.2), xticks=range(1, tasks + 1))
    axes.set_xlabel("scripts learned", color=FAINT)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    quiet_axes(axes)
    heading = "How often the first script is still found (Recall@1, %)"
    figure.text(0.02, 0.91, heading, color=INK, fontsize=12)

    lost = hits["finetune"][0] & ~hits["finetune"][-1] & hits["function-matching"][-1]
    chosen = lost.nonzero()[:, 0]
    chosen = chosen[torch.linspace(0, len(chosen) - 1, QUERIES + 2).round().long()[1:-1]]
    images = test.with_transform(None)
    columns = ("query", "found\nat first", "after\nfine-tuning", "with this\npackage")
    for row, query in enumerate(chosen.tolist()):
        ends = [found[name][-1][query].item() for name in STRATEGIES]
        for column, item in enumerate([query, found["finetune"][0][query].item(), *ends]):
            left = 0.55 + 0.11 * column + (0.015 if column else 0)
            cell = figure.add_axes((left, 0.56 - 0.265 * row, 0.085, 0.085 * 10 / 3.6))
            cell.imshow(np.asarray(images[item][0].convert("RGB")))
            cell.set(xticks=[], yticks=[])
            color = FAINT if not column else RIGHT if labels[item] == labels[query] else WRONG
            for spine in cell.spines.values():
                spine.set(color=color, linewidth=3 if column else 0.6)
            if row == 0:
                cell.set_title(columns[column], color=FAINT, fontsize=10)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a finished run of the demo")
    parser.add_argument("path", type=Path, help="the picture to write")
    given = parser.parse_args()
    draw(FinishedRun(given.run), given.path)


if __name__ == "__main__":
    main()
