"""Real runs by torchrun learn and measure what one process does, also when a process is lost."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.config import dump_yaml
from pml_incremental.experiment import run
from pml_incremental.experiment.running.outputs import RunRecords

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

ROOT = Path(__file__).parents[2]
STRATEGIES = [
    "correlation+si",
    {"fecd": {"probes": {"images": ["warp", "strokes"], "share": 0.75}}},
    {"merge": {"new_share": "affinity"}},
    "function-matching",
    {"correlation": {"probes": {"images": "warp", "pool": 20}}},
]
SGD = {"SGD": {"lr": 0.01, "momentum": 0.9}}
SETTING = {
    "device": "cpu",
    "allow_imports": ["faults"],
    "strategies": STRATEGIES,
    "optimizers": {"trunk_optimizer": SGD, "embedder_optimizer": SGD},
}


def written(config, folder):
    folder.mkdir(exist_ok=True)
    file = folder / "tiny.yaml"
    file.write_text(dump_yaml(config.to_yaml_dict()))
    return file


def torchrun(config, folder, *options):
    """Run a config by two processes; gives the exit code and what was printed."""
    return by_two(*options, ROOT / "runners/run.py", written(config, folder), "--quiet")


def by_two(*words):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", *map(str, words)]
    paths = [str(ROOT), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    return ended.returncode, ended.stdout + ended.stderr


def weights_of(folder):
    files = sorted(folder.rglob("*.safetensors"))
    return {str(file.relative_to(folder)): load_file(file) for file in files}


def names_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def check_same_metrics(folder, expected_folder):
    """Recall matrices are equal; in whole rankings, rounding may exchange two images."""
    texts = [(place / "metrics.json").read_text() for place in (folder, expected_folder)]
    found, expected = (json.loads(text)["strategies"] for text in texts)
    assert found.keys() == expected.keys()
    for strategy, matrices in expected.items():
        assert found[strategy].keys() == matrices.keys()
        for metric, matrix in matrices.items():
            values, wanted = found[strategy][metric]["values"], matrix["values"]
            if "recall" in metric:
                assert values == wanted, (strategy, metric)
            else:
                for row, wanted_row in zip(values, wanted, strict=True):
                    assert row == pytest.approx(wanted_row, abs=1e-3), (strategy, metric)


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Let configs name what is in the files beside this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield


@pytest.fixture(scope="module")
def one(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return run(tiny_config(folder, **SETTING), progress=False).folder


@pytest.fixture(scope="module")
def two(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    code, text = torchrun(tiny_config(folder, **SETTING), folder)
    assert code == 0, text
    assert text.count("(diagonal)") == 1  # the table, by one process
    return folder / "tiny"


def test_two_processes_leave_what_one_does(one, two):
    check_same_metrics(two, one)
    assert names_in(one) == names_in(two)
    expected, found = weights_of(one), weights_of(two)
    assert "task_1/model.safetensors" in found
    assert any(re.fullmatch(r"fecd.*/task_3/memory.safetensors", file) for file in found)
    for file, tensors in expected.items():
        torch.testing.assert_close(found[file], tensors, atol=1e-5, rtol=1e-5)
    assert json.loads((two / "environment.json").read_text())["processes"] == 2


ADAPTED = {**SETTING, "strategies": ["lora+correlation"]}
ALIGNED = {
    **SETTING,
    "strategies": ["align"],
    "optimizers": {
        "trunk_optimizer": SGD,
        "embedder_optimizer": {"SGD": {"lr": 3.0, "momentum": 0.9}},  # far from the teacher
    },
}
STEEP = {f"{name}_optimizer": {"SGD": {"lr": 1e38}} for name in ("trunk", "embedder")}


def trained_with(**options):
    return {"trainer": {"IncrementalMetricLoss": {"batch_size": 16, **options}}}


@pytest.fixture(scope="module")
def several(tiny_config, draw_classes, tmp_path_factory):
    """Runs by two processes that are started once: the folder of each, and what was printed."""
    root = tmp_path_factory.mktemp("several")
    photos = draw_classes(root / "photos", "abcd")
    (photos / "b" / "1.png").write_bytes(b"damaged")
    of_photos = {
        "dataset": {"ImageFolder": {"root": str(photos)}},
        "scenario": {"ClassIncrementalScenario": {"classes_per_task": [2, 2]}},
    }
    changes = {
        "adapters": {"tasks": 2, **ADAPTED},
        "aligned": {"tasks": 2, **ALIGNED},
        "odd batch": {"sampler": None, **trained_with(batch_size=15)},
        "bad image": of_photos,
        "steep": {"optimizers": STEEP, **trained_with()},
        "steep, seldom checked": {"optimizers": STEEP, **trained_with(check_finite_every=2)},
    }
    configs = {
        name: tiny_config(root / name, **{"device": "cpu", **changes[name]}) for name in changes
    }
    files = {name: written(config, root / name) for name, config in configs.items()}
    code, text = by_two(Path(__file__).with_name("run_several.py"), *files.values())
    assert code == 0, text
    said = {
        name: "".join(Path(f"{file}.{rank}.txt").read_text() for rank in range(2))
        for name, file in files.items()
    }
    return {name: (file.parent / "tiny", said[name]) for name, file in files.items()}


def test_adapters_learn_in_two_processes_as_in_one(several, tiny_config, tmp_path):
    pytest.importorskip("peft", reason="needs the extra peft")
    expected = weights_of(run(tiny_config(tmp_path, 2, **ADAPTED), progress=False).folder)
    folder, text = several["adapters"]
    assert text.count("exit code 0") == 2, text
    found = weights_of(folder)
    assert found.keys() == expected.keys()
    for file, tensors in expected.items():
        torch.testing.assert_close(found[file], tensors, atol=1e-5, rtol=1e-5)
    first, last = (
        expected[f"{at}/model.safetensors"] for at in ("task_1", "lora+correlation/task_2")
    )
    assert not torch.equal(first["trunk.1.0.weight"], last["trunk.1.0.weight"])


def test_two_processes_align_as_one_does(several, tiny_config, tmp_path):
    one = run(tiny_config(tmp_path, 2, **ALIGNED), progress=False).folder
    folder, _ = several["aligned"]
    reports = [json.loads((f / "align/task_2/memory.json").read_text()) for f in (one, folder)]
    assert reports[0] == reports[1]
    assert reports[0]["rotated"]
    expected, found = weights_of(one), weights_of(folder)
    for file, tensors in expected.items():
        torch.testing.assert_close(found[file], tensors, atol=1e-4, rtol=1e-4)


@pytest.fixture
def failing(tiny_config, tmp_path):
    """The config of a run whose second process gets a signal in the second task."""

    def make(signal_name):
        fault = {"signal_name": signal_name, "rank": 1, "after": 56, "marker": str(tmp_path / "x")}
        return tiny_config(
            tmp_path,
            **SETTING,
            transforms={"train": [{"faults:FailOnce": fault}]},
        )

    return make


def test_killed_process_is_started_again_and_changes_nothing(failing, two, tmp_path):
    code, text = torchrun(failing("SIGKILL"), tmp_path, "--max-restarts", "1")
    assert code == 0, text
    assert "training failed (RuntimeError); saving the state before it" in text
    assert (tmp_path / "tiny/metrics.json").read_text() == (two / "metrics.json").read_text()
    assert names_in(tmp_path / "tiny") == names_in(two)
    found = weights_of(tmp_path / "tiny")
    for file, tensors in weights_of(two).items():
        for name, tensor in tensors.items():
            assert torch.equal(found[file][name], tensor), (file, name)


def test_all_stop_if_one_is_asked_to_and_one_process_can_go_on(failing, one, tmp_path):
    config = failing("SIGTERM")
    code, text = torchrun(config, tmp_path)
    assert code != 0
    assert "SIGTERM: stopping after this iteration, then saving" in text
    assert not (tmp_path / "tiny/metrics.json").exists()
    assert (tmp_path / "tiny/correlation+si/task_2/checkpoint.safetensors").exists()
    run(config, progress=False)
    check_same_metrics(tmp_path / "tiny", one)
    found = weights_of(tmp_path / "tiny")
    for file, tensors in weights_of(one).items():
        torch.testing.assert_close(found[file], tensors, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("odd batch", "a batch of 15 images cannot be shared evenly by 2 processes"),
        ("bad image", "images that cannot be read: 1"),
        ("steep, seldom checked", "a loss or gradient was not finite"),
    ],
)
def test_what_fails_alike_in_all_processes_is_said_once(several, name, message):
    _, text = several[name]
    assert text.count("exit code 1") == 2, text
    assert text.count(message) == 1, text


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(several):
    assert not several["odd batch"][0].exists()


def test_each_process_names_its_own_images_of_a_loss_that_is_not_finite(several):
    _, text = several["steep"]
    assert text.count("exit code 1") == 2, text
    assert text.count("metric_loss is not finite at epoch") == 2, text
    assert text.count("process 1: metric_loss is not finite at epoch") == 1


def test_other_processes_record_nothing(tiny_config, tmp_path):
    config = tiny_config(tmp_path, records={"writers": ["RecordKeeperWriter"]})
    records = RunRecords(config, tmp_path / "records", writes=False)
    with records.open("task_1") as writer:
        writer.scalars("losses", {"total_loss": 1.0}, step=0)
        assert records.losses_hook(writer) is None
    assert not (tmp_path / "records").exists()
