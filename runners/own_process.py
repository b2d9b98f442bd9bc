"""Time and peak memory of one measurement, in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch


def measured(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What it returns; seconds, and gigabytes of a GPU if there is one, else of the process."""
    before, start, cpu_start = peak_gb(), time.perf_counter(), time.process_time()
    result = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "gb_over_data": peak_gb() - before,
        "peak_gb": peak_gb(),
    }


def peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_own_process(script: str, *arguments: object) -> dict[str, Any]:
    """The JSON that the script prints last."""
    command = [sys.executable, script, *map(str, arguments)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures
