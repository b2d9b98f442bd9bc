"""Damaged files of every kind: read as what they say, or refused with an error of our own.

The suite tries a sample. ``PML_INCREMENTAL_FUZZ=1 pytest tests/durability/test_fuzz.py`` tries all
5,000 inputs, and with other numbers as many times that.
"""

import os
import random
import signal
import time
from pathlib import Path

import fuzzed_files
import pytest

from pml_incremental.cli.common import _is_meant_for_users
from pml_incremental.config import ConfigError, load_config

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SHARE = float(os.environ.get("PML_INCREMENTAL_FUZZ", "0.06"))
SECONDS, MEGABYTES = 20, 2000
NAMES = (
    *("configs", "weights_of_others", "checkpoints", "evaluations", "model_folders", "galleries"),
    *("maps", "npz_files", "csv_files", "vector_files", "parquet_files"),
)


def memory(name):
    """Megabytes of this process, now or at its peak; 0 where the system does not say."""
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(name)), 0)


@pytest.fixture
def bounded():
    """Fail where one input takes too long, or the peak of memory grows too much."""

    def too_long(*_):
        raise AssertionError(f"an input took more than {SECONDS} s")

    before, peak = signal.signal(signal.SIGALRM, too_long), Path("/proc/self/clear_refs")
    if peak.exists():
        peak.write_text("5")
    start = memory("VmRSS")
    yield
    signal.signal(signal.SIGALRM, before)
    assert memory("VmHWM") - start < MEGABYTES


def refusal(attempt, draw):
    """The error about a file, if it is refused; others than those of bad input are let through."""
    signal.alarm(SECONDS)
    try:
        attempt(draw)
    except (ValueError, TypeError, OSError) as error:
        return error
    finally:
        signal.alarm(0)


def test_all_kinds_are_tried():
    assert tuple(kind.__name__ for kind in fuzzed_files.KINDS) == NAMES
    assert sum(fuzzed_files.KINDS.values()) == 5000


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")
@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_read_right_or_refused(tmp_path, name):
    if name == "parquet_files":
        pytest.importorskip("pyarrow")
    attempt, errors = getattr(fuzzed_files, name)(tmp_path), []
    times = round(fuzzed_files.KINDS[getattr(fuzzed_files, name)] * SHARE)
    for number in range(times):
        error = refusal(attempt, random.Random(f"{name} {number}"))
        if error is not None:
            assert isinstance(error, ConfigError) or _is_meant_for_users(error), number
            errors.append(str(error))
    assert len(errors) > times / 3
    unnamed = [error for error in errors if str(tmp_path) not in error]
    # A model that is made in Python from a folder's config.json has no folder's name.
    assert not unnamed or name == "model_folders"


def test_aliases_that_grow_without_end_and_deep_nesting_are_refused(tmp_path):
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text("\n".join(lines))
    start = time.monotonic()
    with pytest.raises(ConfigError, match="holds more than 100000 values"):
        load_config([path])
    path.write_text("a: " + "[" * 20_000 + "]" * 20_000)
    with pytest.raises(ConfigError, match=r"bomb.yaml: nested too deeply"):
        load_config([path])
    assert time.monotonic() - start < SECONDS
