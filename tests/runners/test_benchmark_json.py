"""What the benchmark writes for other programs."""

import json
import time

import benchmark
import in_turn
import pytest
import torch


def test_measurements_are_written_with_machine_and_spread(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(in_turn, "MEASUREMENTS", [])
    in_turn.compare(
        "waiting / waiting half as long",
        lambda: time.sleep(0.002),
        lambda: time.sleep(0.001),
        "<= 3",
        rounds=5,
        calls=2,
    )
    assert "bar <= 3" in capsys.readouterr().out
    path = tmp_path / "figures.json"
    in_turn.write_json(path, (0.5, 0.25, 0.125))
    found = json.loads(path.read_text())
    (measurement,) = found["measurements"]
    assert (measurement["title"], measurement["bar"]) == ("waiting / waiting half as long", "<= 3")
    low, high = measurement["ratio"]["quartiles"]
    assert 1 < low <= measurement["ratio"]["median"] <= high
    assert measurement["ours_ms"]["median"] > 2
    assert measurement["ratio"]["rounds"] == 5
    machine = found["machine"]
    assert machine["packages"]["torch"]
    assert machine["load_average"]["before"] == [0.5, 0.25, 0.125]
    assert machine["cores"] >= 1


def test_median_and_quartiles():
    assert in_turn.spread([4.0, 1.0, 2.0, 3.0, 5.0]) == {
        "median": 3.0,
        "quartiles": [2.0, 4.0],
        "rounds": 5,
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and it would take minutes")
def test_without_a_gpu_nothing_passes_for_measured():
    with pytest.raises(SystemExit, match="there is no CUDA GPU here: nothing was run"):
        benchmark.benchmark_gpu()
