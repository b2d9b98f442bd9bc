"""What training will need, looked for before anything is learned."""

from __future__ import annotations

from pml_incremental.config import ExperimentConfig
from pml_incremental.models import check_compiler
from pml_incremental.scenarios import ClassIncrementalScenario
from pml_incremental.trainers import check_unchanging


def check_training(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> None:
    """Refuse a config whose training would fail for what it finds here.

    Args:
        config: of the run.
        scenario: its images.

    Raises:
        ValueError: if models are to be compiled and there is no compiler, or the teacher's
            embeddings are to be cached and a training transform is random.
    """
    if config.models.compile:
        check_compiler()
    if config.trainer.kwargs.get("cache_teacher"):
        check_unchanging(scenario[0].train)
