"""Retrieval evaluation, task by task."""

import pml_incremental.needs_pml_2  # noqa: F401
from pml_incremental.testers.evaluation import Evaluation
from pml_incremental.testers.incremental_tester import IncrementalTester
from pml_incremental.testers.recall_calculator import RecallCalculator

__all__ = ["Evaluation", "IncrementalTester", "RecallCalculator"]
