"""Whole runs: the task loop, its folder and its result."""

from pml_incremental.experiment.diagnosis import diagnose
from pml_incremental.experiment.result import Result
from pml_incremental.experiment.run import run
from pml_incremental.experiment.seeding import seed_everything

__all__ = ["Result", "diagnose", "run", "seed_everything"]
