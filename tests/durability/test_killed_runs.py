"""Runs killed at seeded random moments end as a run that was not."""

import os
import random
import signal
import time
from contextlib import suppress

import pytest

pytestmark = pytest.mark.slow  # whole runs

MOMENTS = 4


@pytest.fixture(scope="module")
def whole(server, make_values, left_by, tmp_path_factory):
    """An uninterrupted run: what it left, how many events it had, and how long it took."""
    folder = tmp_path_factory.mktemp("whole")
    start = time.monotonic()
    ended = server.run(make_values(folder))
    assert ended["code"] == 0, ended["text"]
    return left_by(folder / "tiny"), ended["events"], time.monotonic() - start


def check_resumes(server, values, whole, left_by):
    ended = server.run(values)
    assert ended["code"] == 0, ended["text"]
    assert left_by(values["output"] + "/tiny") == whole[0]


def test_run_leaves_no_checkpoint_and_no_unfinished_file(whole):
    names = set(whole[0])
    assert "correlation+si/task_2/memory.safetensors" in names
    assert not [name for name in names if "checkpoint" in name or name.endswith(".part")]


def test_killed_at_iterations_and_while_writing(server, make_values, whole, left_by, tmp_path):
    for moment in random.Random(0).sample(range(1, whole[1] + 1), 5 * MOMENTS):
        values = make_values(tmp_path / str(moment))
        killed = server.run(values, die_at=moment)
        assert killed["code"] == -signal.SIGKILL
        check_resumes(server, values, whole, left_by)


def test_killed_at_moments_of_the_clock(server, make_values, whole, left_by, tmp_path):
    draw = random.Random(2)
    for number in range(MOMENTS):
        values = make_values(tmp_path / str(number))
        child = server.start(values)
        time.sleep(draw.uniform(0.05, 0.95) * whole[2])
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        server.wait()
        check_resumes(server, values, whole, left_by)


def test_killed_again_and_again(server, make_values, whole, left_by, tmp_path):
    values = make_values(tmp_path)
    for moment in (whole[1] // 4,) * 3:
        assert server.run(values, die_at=moment)["code"] == -signal.SIGKILL
    check_resumes(server, values, whole, left_by)


# Probes, turned classes, feature maps, the dial and going back all have state of their own.
HELD = {"weight": 5.0, "turned": 0.5, "probes": ["warp", "strokes"]}
BY_COMMAND = {"strategies": [{"function-matching": HELD}], "checkpoint": {"iterations": 1}}


def test_function_matching_killed_as_a_command(server, make_values, left_by, tmp_path):
    values = make_values(tmp_path / "whole", **BY_COMMAND)
    ended = server.run(values, by_command=True)
    assert ended["code"] == 0, ended["text"]
    expected = left_by(tmp_path / "whole/tiny")
    assert len([name for name in expected if name.endswith("task_2/model.safetensors")]) == 1
    for moment in random.Random(3).sample(range(1, ended["events"] + 1), 3 * MOMENTS):
        values = make_values(tmp_path / str(moment), **BY_COMMAND)
        assert server.run(values, by_command=True, die_at=moment)["code"] == -signal.SIGKILL
        resumed = server.run(values, by_command=True)
        assert resumed["code"] == 0, resumed["text"]
        assert left_by(tmp_path / str(moment) / "tiny") == expected
