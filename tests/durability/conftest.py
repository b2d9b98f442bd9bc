from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from pml_incremental.config import ExperimentConfig

# For the modules here that are no tests; pytest looks for doctests in them too.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Eight classes of eight images of 8 x 8 pixels, half of them for tests."""
    draw = np.random.default_rng(0)
    labels = np.repeat(np.arange(8), 8)
    base = draw.integers(60, 190, (8, 8, 8))
    noisy = base[labels] + draw.integers(-60, 60, (64, 8, 8))
    path = tmp_path_factory.mktemp("images") / "images.npz"
    vendor = np.tile(["train", "train", "test", "test"], 16)
    np.savez(path, x=noisy.astype(np.uint8), y=labels, vendor=vendor)
    return path


@pytest.fixture(scope="session")
def make_values(images):
    """The plain values of a config of a very small run with every kind of state."""

    def make(folder, **changes):
        values = {
            "name": "tiny",
            "output": str(folder),
            "device": "cpu",
            "threads": 1,
            "dataset": {"NpzImages": {"path": str(images), "test_values": ["test"]}},
            "scenario": {"ClassIncrementalScenario": {"classes_per_task": [4, 4]}},
            "transforms": {"train": ["RandomHorizontalFlip"]},
            "models": {
                "trunk": {"SmallConvNet": {"width": 4}},
                "embedder": {"MLP": {"layer_sizes": [8]}},
            },
            "loss_funcs": {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}},
            "sampler": {"MPerClassSampler": {"m": 2}},
            "optimizers": {
                "trunk_optimizer": {"Adam": {"lr": 1e-3}},
                "embedder_optimizer": {"SGD": {"lr": 1e-2, "momentum": 0.9}},
            },
            "lr_schedulers": {
                "trunk_scheduler_by_iteration": {"ExponentialLR": {"gamma": 0.9}},
                "embedder_scheduler_by_epoch": {"StepLR": {"step_size": 1}},
            },
            "trainer": {"IncrementalMetricLoss": {"batch_size": 8, "iterations_per_epoch": 3}},
            "num_epochs": 2,
            "checkpoint": {"iterations": 2},
            "strategies": ["correlation+si"],
        }
        return {**values, **changes}

    return make


@pytest.fixture(scope="session")
def make_config(make_values):
    """The config itself."""

    def make(folder, **changes):
        return ExperimentConfig.model_validate(make_values(folder, **changes))

    return make


@pytest.fixture(scope="session")
def left_by():
    """All weights, memories and numbers that a run left, with what else is there."""
    return _left_by


def _left_by(folder):
    folder = Path(folder)
    return {
        str(path.relative_to(folder)): (
            {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
            if path.suffix == ".safetensors"
            else path.read_bytes()
        )
        for path in sorted(folder.rglob("*"))
        if (
            path.is_file()
            and path.suffix in (".safetensors", ".json", ".csv")
            and path.name not in ("environment.json", "config.yaml")
        )
        or ".part" in path.name
    }


class RunServer:
    """Starts runs as processes of their own, without importing everything anew for each."""

    def __init__(self):
        script = Path(__file__).with_name("run_server.py")
        self.process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, values, **options):
        """Start a run; gives its process id."""
        self.process.stdin.write(json.dumps({"config": values, **options}) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def wait(self):
        """Exit code (the signal's number below 0), events counted, and what was printed."""
        return json.loads(self.process.stdout.readline())

    def run(self, values, **options):
        self.start(values, **options)
        return self.wait()


@pytest.fixture(scope="session", autouse=True)
def heeded_sigint():
    """A process started in the background of a shell ignores SIGINT, and so do its children."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _served():
    started = RunServer()
    yield started
    started.process.stdin.close()
    started.process.wait()


server = pytest.fixture(scope="session")(_served)
new_server = pytest.fixture(_served)
