"""Retrieval evaluation, task by task."""

from pml_incremental.testers.evaluation import Evaluation
from pml_incremental.testers.incremental_tester import IncrementalTester
from pml_incremental.testers.recall_calculator import RecallCalculator

__all__ = ["Evaluation", "IncrementalTester", "RecallCalculator"]
