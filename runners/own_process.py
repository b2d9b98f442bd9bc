"""Time and peak memory of one measurement, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def measured(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What it returns; seconds, and gigabytes of a GPU if there is one, else of the process."""
    forget_peak()
    before, start, cpu_start = gb_now(), time.perf_counter(), time.process_time()
    result = function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result, {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu_start,
        "gb_over_data": peak_gb() - before,
        "peak_gb": peak_gb(),
    }


def forget_peak() -> None:
    """Making the data can take more than the data do: its peak would hide what comes after."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")


def gb_now() -> float:
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**30
    return _linux_gb("VmRSS")


def peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    return _linux_gb("VmHWM")


def _linux_gb(name: str) -> float:
    """A line of Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 2**20


def in_own_process(script: str, *arguments: object) -> dict[str, Any]:
    """The JSON that the script prints last."""
    command = [sys.executable, script, *map(str, arguments)]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return figures
