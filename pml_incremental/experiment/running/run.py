"""A whole run, from config to pictures."""

from __future__ import annotations

from contextlib import ExitStack

from pml_incremental.config import ExperimentConfig
from pml_incremental.config.objects import spec_label
from pml_incremental.distributed import process_group
from pml_incremental.experiment.assembly import choose_device
from pml_incremental.experiment.environment import apply_torch_settings
from pml_incremental.experiment.running.outputs import write_outputs
from pml_incremental.experiment.running.task_checkpoint import stop_signals
from pml_incremental.experiment.running.task_loop import TaskLoop
from pml_incremental.report.results import Result


def run(config: ExperimentConfig, *, progress: bool = True) -> Result:
    """Learn all tasks with every strategy of a config, and write what came of it.

    The first task has no teacher and is the same for all strategies, so it is learned once. A
    stage (a strategy's model after a task) that the run's folder already holds is not learned
    again, and a half-learned one is resumed: the same call continues a run that was
    killed, and ends as one that was not. SIGINT and SIGTERM end the iteration, save and stop.

    Processes that torchrun has started learn together; the first one reads, writes and evaluates.

    Args:
        config: a validated config; see ``load_config``.
        progress: whether to show progress bars.

    Returns:
        A task matrix per strategy and metric, as also written to ``metrics.json``, in every
        process.

    Raises:
        ValueError: if the data do not fit the config, the folder holds another run, a file in it
            is damaged, another process is at work in it, or the processes cannot share a batch or
            the GPUs.
        FirstProcessError: in the other processes, if the first one failed at such a thing.
        StorageError: if a file cannot be written.
        RunInterrupted: if a signal asked to stop.
    """
    apply_torch_settings(config)
    with (
        process_group(choose_device(config.device)) as processes,
        stop_signals(processes) as stop,
        ExitStack() as locks,
    ):
        loop = TaskLoop.set_up(config, progress, stop, processes)
        for spec in config.strategies:
            locks.enter_context(loop.folder.lock(spec_label(spec)))
        matrices = {spec_label(spec): loop.learn_strategy(spec) for spec in config.strategies}
        result = Result(
            config.name,
            loop.folder.path,
            matrices,
            tuple(loop.learned),
            loop.scenario.left_out,
        )
        processes.on_rank_zero(lambda: write_outputs(result, loop.folder))
    return result
