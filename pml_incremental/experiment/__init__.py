"""Whole runs: the task loop, its folder and its result."""

from pml_incremental.experiment.comparison.compare import Comparison, choose_strategies, compare
from pml_incremental.experiment.comparison.engines import (
    Engine,
    LocalProcesses,
    Submitit,
    ThisProcess,
)
from pml_incremental.experiment.diagnosis.diagnosis import diagnose
from pml_incremental.experiment.embedding_model import EmbeddingModel
from pml_incremental.experiment.environment import seed_everything
from pml_incremental.experiment.export import export_model
from pml_incremental.experiment.running.run import run
from pml_incremental.experiment.tuning.tune import Tuned, tune
from pml_incremental.experiment.updating.update import update
from pml_incremental.report.results import Result, Update

__all__ = [
    "Comparison",
    "EmbeddingModel",
    "Engine",
    "LocalProcesses",
    "Result",
    "Submitit",
    "ThisProcess",
    "Tuned",
    "Update",
    "choose_strategies",
    "compare",
    "diagnose",
    "export_model",
    "run",
    "seed_everything",
    "tune",
    "update",
]
