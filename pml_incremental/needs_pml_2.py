"""Imported first by what builds on PML 2: an ImportError in one sentence where there is another."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from pml_incremental.extras import MissingExtraError

NAME = "pytorch-metric-learning"


def _installed() -> str:
    try:
        return f"version {version(NAME)} is installed"
    except PackageNotFoundError:
        return "it is not installed"


if find_spec("pytorch_metric_learning") is None or (
    find_spec("pytorch_metric_learning.trainers") is None  # which version 3 removed
):
    raise MissingExtraError(
        "losses, trainers, testers, hooks and commands of pml_incremental need "
        f"{NAME}>=2.9,<3, and {_installed()}: pip install '{NAME}<3', or use pml_incremental."
        "functional, estimators, metrics and search, which do without it"
    )
