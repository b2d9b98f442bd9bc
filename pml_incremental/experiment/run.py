"""A whole run, from config to pictures."""

from __future__ import annotations

import torch

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.outputs import write_outputs
from pml_incremental.experiment.result import Result
from pml_incremental.experiment.strategy_specs import spec_label
from pml_incremental.experiment.task_loop import TaskLoop


def run(config: ExperimentConfig, *, progress: bool = True) -> Result:
    """Learn all tasks with every strategy of a config, and write what came of it.

    The first task has no teacher and is the same for all strategies, so it is learned once. A
    stage (a strategy's model after a task) that the run's folder already holds is not learned
    again: the same call continues a run that was killed.

    Args:
        config: a validated config; see ``load_config``.
        progress: whether to show progress bars.

    Returns:
        A task matrix per strategy and metric, as also written to ``metrics.json``.

    Raises:
        ValueError: if the data do not fit the config, or the folder holds another run.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    loop = TaskLoop.set_up(config, progress)
    result = Result(
        name=config.name,
        folder=loop.folder.path,
        strategies={spec_label(spec): loop.learn_strategy(spec) for spec in config.strategies},
    )
    write_outputs(result, loop.folder)
    return result
