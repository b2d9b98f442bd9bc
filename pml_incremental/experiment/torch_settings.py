"""What a config says about torch as a whole."""

from __future__ import annotations

import os

import torch

from pml_incremental.config import ExperimentConfig


def apply_torch_settings(config: ExperimentConfig) -> None:
    """Set the number of threads and whether kernels must be deterministic, for this process."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        # cuBLAS reads this when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(config.deterministic)
