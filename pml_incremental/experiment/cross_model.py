"""Can a strategy's later models search what its earlier models have indexed?"""

from __future__ import annotations

from itertools import accumulate

import torch

from pml_incremental.experiment.finished_run import FinishedRun
from pml_incremental.testers.cross_model import Matrix, cross_model_matrices


def cross_model(run: FinishedRun, strategy: str, k: int = 1) -> tuple[Matrix, Matrix]:
    """Recall@K of each stage's queries in the galleries of the stages before it.

    Args:
        run: a finished run whose weights are kept.
        strategy: one of its strategies.
        k: the K of Recall@K.

    Returns:
        See :func:`pml_incremental.testers.cross_model.cross_model_matrices`.

    Raises:
        ValueError: if weights are missing.
    """
    stages, labels = run.stage_embeddings(strategy)
    return cross_model_matrices(
        [torch.cat(stage) for stage in stages],
        torch.cat(labels),
        list(accumulate(map(len, labels))),
        k,
    )
