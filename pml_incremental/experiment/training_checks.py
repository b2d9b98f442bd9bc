"""What training will need, looked for before anything is learned."""

from __future__ import annotations

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.experiment.seeding import seed_everything
from pml_incremental.experiment.strategy_specs import build_strategy
from pml_incremental.models import check_compiler
from pml_incremental.scenarios import ClassIncrementalScenario
from pml_incremental.trainers import check_unchanging


def checked_scenario(config: ExperimentConfig) -> ClassIncrementalScenario:
    """The tasks of a run, once everything is known to fit that can be known without training."""
    for spec in config.strategies:
        build_strategy(config, spec)
    seed_everything(config.seed)
    scenario = build_scenario(config)
    check_training(config, scenario)
    return scenario


def check_training(config: ExperimentConfig, scenario: ClassIncrementalScenario) -> None:
    """Refuse a config whose training would fail for what it finds here."""
    if config.models.compile:
        check_compiler()
    if config.trainer.kwargs.get("cache_teacher"):
        check_unchanging(scenario[0].train)
