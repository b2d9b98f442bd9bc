"""What a run was made with."""

from __future__ import annotations

import os
import platform
import random
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from pml_incremental.config import ExperimentConfig

_PACKAGES = (
    "pml-incremental",
    "torch",
    "torchvision",
    "pytorch-metric-learning",
    "faiss-cpu",
    "faiss-gpu",
    "numpy",
)


def describe_environment(device: torch.device, processes: int = 1) -> dict[str, object]:
    """Versions, machine and commit, for ``environment.json``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    return {
        "command": sys.argv,
        "device": f"{device} {name}".strip(),
        "git_commit": _git_commit(),
        "packages": {package: _version(package) for package in _PACKAGES},
        "platform": platform.platform(),
        "processes": processes,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """The commit of the checkout this package is run from; None when it is installed."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None


def apply_torch_settings(config: ExperimentConfig) -> None:
    """Set the number of threads and whether kernels must be deterministic, for this process."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    # Even where it changes nothing, this imports the compiler, which takes a second.
    if config.deterministic != torch.are_deterministic_algorithms_enabled():
        torch.use_deterministic_algorithms(config.deterministic)


def seed_everything(seed: int, *scope: int) -> None:
    """Seed Python, NumPy and torch (all devices) for one part of a run.

    Each part (a task, say) gets its own stream, derived from the run's seed, so that a run that
    is resumed at a task draws the same numbers as one that was never interrupted.

    Args:
        seed: the run's seed, at least 0.
        scope: what the numbers are for, such as a task's number.

    Raises:
        ValueError: if the seed is negative.

    Example:
        >>> seed_everything(0, 2)
        >>> first = torch.rand(1)
        >>> seed_everything(0, 2)
        >>> bool(first == torch.rand(1))
        True
    """
    if seed < 0:
        raise ValueError(f"seed must be at least 0, got {seed}")
    derived = int(np.random.SeedSequence([seed, len(scope), *scope]).generate_state(1)[0])
    random.seed(derived)
    np.random.seed(derived)
    torch.manual_seed(derived)
