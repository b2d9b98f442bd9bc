"""Runs asked to stop at some iteration go on as if they had not been, whatever has state."""

import dataclasses
import os
import signal
import time

import pytest

from pml_incremental.experiment import run
from pml_incremental.experiment.running.task_checkpoint import (
    RunInterrupted,
    StopRequest,
    TaskCheckpoint,
    stop_signals,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs


def trained_with(**options):
    sizes = {"batch_size": 8, "iterations_per_epoch": 3}
    return {"trainer": {"IncrementalMetricLoss": {**sizes, **options}}}


def three_tasks(strategy):
    tasks = {"scenario": {"ClassIncrementalScenario": {"classes_per_task": [4, 2, 2]}}}
    return {**tasks, **trained_with(batch_size=4), "strategies": [strategy]}


MEMORY = {"loss": "ContrastiveLoss", "embedding_size": 8, "memory_size": 24}
MOVING = {"correlation+ema-teacher": {"ema-teacher": {"momentum": 0.5}}}


ADAPTER = {"LoraConfig": {"r": 2, "lora_dropout": 0.5}}
ADAPTED = {
    "trunk": {"SmallConvNet": {"width": 4}},
    "adapter": ADAPTER,
    "embedder": {"MLP": {"layer_sizes": [8]}},
}
FOLLOWED = {"lora+function-matching+ema-teacher": {"ema-teacher": {"momentum": 0.5}}}
CASES = {
    "adapter": {
        **trained_with(cache_teacher=True),
        "transforms": {"train": []},
        "models": ADAPTED,
        "strategies": ["correlation"],
    },
    "lora in a sum": {**three_tasks(FOLLOWED)},
    "fecd": three_tasks("fecd"),
    "accuracy change": three_tasks({"fecd": {"estimator": "AccuracyChangeEstimator"}}),
    "oracle": three_tasks("fecd-oracle"),
    "moving teacher": {"strategies": [MOVING]},
    "replay": {"strategies": ["replay+merge"]},
    "function matching": {"strategies": ["function-matching"]},
    # With an embedder that learns so fast that rotating it back helps.
    "aligned": {
        "optimizers": {
            "trunk_optimizer": {"Adam": {"lr": 1e-3}},
            "embedder_optimizer": {"Adam": {"lr": 0.1}},
        },
        "strategies": ["merge+align"],
    },
    "probes": {"strategies": [{"correlation": {"probes": ["warp", "strokes"]}}]},
    "pool of probes": {"strategies": [{"cosine": {"probes": {"images": "warp", "pool": 30}}}]},
    "all images in random order": {"sampler": None, "strategies": ["finetune"]},
    "loaded by other processes": {
        **trained_with(dataloader_num_workers=2),
        "strategies": ["finetune"],
    },
    "half precision": trained_with(precision="fp16"),
    "accumulated gradients": trained_with(accumulation_steps=2),
    "cached teacher": {**trained_with(cache_teacher=True), "transforms": {"train": []}},
    "memory of batches": {
        "loss_funcs": {"metric_loss": {"CrossBatchMemory": MEMORY}},
        "strategies": ["finetune"],
    },
    "miner and clipping": {
        "mining_funcs": {"tuple_miner": "MultiSimilarityMiner"},
        "grad_clip_norm": 0.1,
        "strategies": ["joint"],
    },
}


def quiet_run(config):
    return run(config, progress=False)


@pytest.fixture
def stop_at(monkeypatch):
    """Let the run be asked to stop at iterations, counted over all tasks."""

    def ask(*iterations):
        count = 0
        after = TaskCheckpoint.after_iteration

        def after_iteration(checkpoint, trainer):
            nonlocal count
            count += 1
            if count in iterations:
                checkpoint.stop.number = signal.SIGTERM
            after(checkpoint, trainer)

        monkeypatch.setattr(TaskCheckpoint, "after_iteration", after_iteration)

    return ask


@pytest.mark.parametrize("case", CASES)
def test_stopped_run_goes_on_to_the_bit(make_config, left_by, stop_at, tmp_path, case):
    if case in ("adapter", "lora in a sum"):
        pytest.importorskip("peft", reason="needs the extra peft")
    whole = make_config(tmp_path / "whole", **CASES[case])
    quiet_run(whole)
    # Each task has two epochs of three iterations.
    tasks = len(whole.scenario.kwargs["classes_per_task"])
    stop_at(1, 6, 6 * tasks - 2)
    stopped = make_config(tmp_path / "stopped", **CASES[case])
    for _ in range(3):
        with pytest.raises(RunInterrupted, match="stopped by SIGTERM"):
            quiet_run(stopped)
    quiet_run(stopped)
    assert left_by(tmp_path / "stopped/tiny") == left_by(tmp_path / "whole/tiny")


def test_any_number_of_loading_processes_gives_the_same(make_config, left_by, tmp_path):
    for workers in (1, 2):
        options = {**trained_with(dataloader_num_workers=workers), "strategies": ["finetune"]}
        quiet_run(make_config(tmp_path / str(workers), **options))
    assert left_by(tmp_path / "1/tiny") == left_by(tmp_path / "2/tiny")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_stops_a_run_which_says_so(server, make_values, tmp_path, number, code):
    child = server.start(make_values(tmp_path, num_epochs=100_000))
    while not (tmp_path / "tiny/correlation+si/task_1/checkpoint.safetensors").exists():
        time.sleep(0.05)
    os.kill(child, number)
    ended = server.wait()
    assert ended["code"] == code
    assert "stopping after this iteration" in ended["text"]
    assert f"stopped by {signal.Signals(number).name}" in ended["text"]


def test_first_signal_waits_and_second_does_not():
    with stop_signals() as stop:
        stop.can_wait = True
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(SystemExit) as end:
            signal.raise_signal(signal.SIGTERM)
        assert end.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with stop_signals(), pytest.raises(RunInterrupted) as stop:  # nothing waits
        signal.raise_signal(signal.SIGINT)
    assert stop.value.exit_code == 130


def test_request_made_while_something_waits_is_met_after_it():
    stop = StopRequest()
    with pytest.raises(RunInterrupted), stop.waiting():
        stop.ask(signal.SIGTERM)
    assert dataclasses.asdict(stop)["can_wait"] is False
