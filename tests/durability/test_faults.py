"""Disks, folders, files and processes that fail: what is said, what is kept, and going on."""

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pml_incremental.storage.whole_file import is_alive

pytestmark = pytest.mark.slow  # whole runs

CHECKPOINT = "correlation+si/task_1/checkpoint.safetensors"


def is_root():
    return hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def whole(server, make_values, left_by, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    ended = server.run(make_values(folder))
    assert ended["code"] == 0, ended["text"]
    return left_by(folder / "tiny"), ended["events"]


@pytest.fixture
def check_goes_on(server, whole, left_by):
    def check(values):
        ended = server.run(values)
        assert ended["code"] == 0, ended["text"]
        assert left_by(values["output"] + "/tiny") == whole[0]
        return ended["text"]

    return check


@pytest.fixture
def killed(server, make_values, tmp_path):
    """A run killed in its first task, with a checkpoint and one before it."""
    values = make_values(tmp_path)
    checkpoint = tmp_path / "tiny" / CHECKPOINT
    two = [str(checkpoint), f"{checkpoint}.previous"]
    assert server.run(values, die_when_there=two)["code"] == -signal.SIGKILL
    return values, checkpoint


def test_file_too_large_for_a_limit(server, make_values, tmp_path, check_goes_on):
    values = make_values(tmp_path)
    ended = server.run(values, largest_file=2000)
    assert ended["code"] == 1
    assert "no checkpoint: cannot write" in ended["text"]  # and training went on
    assert "model.safetensors: File too large: the disk is full, or a limit" in ended["text"]
    assert "What was there before is unchanged" in ended["text"]
    check_goes_on(values)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte, and how to mount it with other options."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options):
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not is_root() or not mount("size=1m"):
        pytest.skip("needs the right to mount a small disk")
    yield disk, mount
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_that_is_full(server, make_values, small_disk, check_goes_on):
    disk, _ = small_disk
    values = make_values(disk)
    (disk / "ballast").write_bytes(bytes(960 * 1024))
    ended = server.run(values)
    assert ended["code"] == 1
    assert "No space left on device: the disk is full" in ended["text"]
    (disk / "ballast").unlink()
    check_goes_on(values)


def test_disk_that_is_read_only(server, make_values, small_disk, check_goes_on):
    disk, mount = small_disk
    values = make_values(disk)
    assert server.run(values, die_at=30)["code"] == -signal.SIGKILL
    assert mount("remount,ro")
    ended = server.run(values)
    assert ended["code"] == 1
    assert "Read-only file system: it is not allowed; make the folder writable" in ended["text"]
    assert mount("remount,rw")
    check_goes_on(values)


@pytest.mark.skipif(is_root(), reason="root may write everywhere")
def test_folder_of_someone_else(server, make_values, tmp_path, check_goes_on):
    values = make_values(tmp_path / "runs")
    (tmp_path / "runs").mkdir(mode=0o555)
    ended = server.run(values)
    assert ended["code"] == 1
    assert "Permission denied: it is not allowed; make the folder writable" in ended["text"]
    (tmp_path / "runs").chmod(0o755)
    check_goes_on(values)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_checkpoint(killed, check_goes_on, damage):
    values, checkpoint = killed
    damage(checkpoint)
    text = check_goes_on(values)
    assert f"{checkpoint} is damaged" in text
    assert "the one saved before it is used instead" in text


@pytest.mark.parametrize("damage", [cut, flip])
def test_damaged_weights_memory_and_numbers(server, make_values, tmp_path, check_goes_on, damage):
    values = make_values(tmp_path)
    assert server.run(values)["code"] == 0
    folder = tmp_path / "tiny/correlation+si/task_2"
    for name in ("model.safetensors", "memory.safetensors", "evaluation.json"):
        damage(folder / name)
        ended = server.run(values)
        assert ended["code"] == 1
        assert f"DamagedFileError: {folder / name} is damaged" in ended["text"]
        what = f"the folder {folder}" if name == "model.safetensors" else "that file"
        assert f"delete {what} and start the run again" in ended["text"]
        shutil.rmtree(folder) if name == "model.safetensors" else (folder / name).unlink()
        check_goes_on(values)


@pytest.fixture
def folder_values(make_values, tmp_path):
    """A config of a run over image files."""
    draw = np.random.default_rng(0)
    for label in range(8):
        for number in range(8):
            path = tmp_path / "images" / ("train" if number < 4 else "test") / str(label)
            path.mkdir(parents=True, exist_ok=True)
            pixels = draw.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(path / f"{number}.png")
    trunk = {"SmallConvNet": {"width": 4, "in_channels": 3}}
    dataset = {"ImageFolder": {"root": str(tmp_path / "images")}}

    def make(name, **changes):
        models = {"trunk": trunk, "embedder": {"MLP": {"layer_sizes": [8]}}}
        return make_values(tmp_path / name, dataset=dataset, models=models, **changes)

    return make


def test_vanished_image(server, folder_values, left_by, tmp_path):
    long = {"num_epochs": 60, "strategies": ["finetune"], "checkpoint": {"minutes": 99}}
    values = folder_values("run", **long)
    assert server.run(folder_values("whole", **long))["code"] == 0
    image = tmp_path / "images/train/0/1.png"
    child = server.start(values)
    while not (tmp_path / "run/tiny/before/evaluation.json").exists():
        time.sleep(0.01)
    image.rename(tmp_path / "away.png")
    ended = server.wait()
    assert child
    assert ended["code"] == 1
    assert f"cannot read the image {image}" in ended["text"]
    assert "saving the state before it" in ended["text"]
    assert (tmp_path / "run/tiny/task_1/checkpoint.safetensors").exists()
    (tmp_path / "away.png").rename(image)
    ended = server.run(values)
    assert ended["code"] == 0, ended["text"]
    assert left_by(tmp_path / "run/tiny") == left_by(tmp_path / "whole/tiny")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_killed_loading_process(server, folder_values, left_by, tmp_path):
    loading = {"batch_size": 8, "iterations_per_epoch": 3, "dataloader_num_workers": 2}
    long = {"num_epochs": 40, "strategies": ["finetune"], "checkpoint": {"minutes": 99}}
    long["trainer"] = {"IncrementalMetricLoss": loading}
    assert server.run(folder_values("whole", **long))["code"] == 0
    values = folder_values("run", **long)
    child = server.start(values)
    while not (tmp_path / "run/tiny/before/evaluation.json").exists():
        time.sleep(0.01)
    while is_alive(child):  # from here on its children are all loading images
        for worker in children_of(child)[:1]:
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        time.sleep(0.01)
    ended = server.wait()
    assert ended["code"] == 1
    assert "DataLoadingError: a process that loads images was killed" in ended["text"]
    ended = server.run(values)
    assert ended["code"] == 0, ended["text"]
    assert left_by(tmp_path / "run/tiny") == left_by(tmp_path / "whole/tiny")


def children_of(pid):
    try:
        return [int(pid) for pid in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has just ended
        return []


def test_two_runs_in_one_folder(server, new_server, make_values, tmp_path):
    values = make_values(tmp_path, num_epochs=100_000)
    child = server.start(values)
    while not (tmp_path / "tiny" / CHECKPOINT).exists():
        time.sleep(0.01)
    refused = new_server.run(values)
    owner = json.loads((tmp_path / "tiny/locks/correlation+si.owner.json").read_text())
    os.kill(child, signal.SIGKILL)
    server.wait()
    assert refused["code"] == 1
    said = f"correlation+si in {tmp_path / 'tiny'} is in use by process {child} on"
    assert f"InUseError: {said}" in refused["text"]
    assert owner["pid"] == child
    # The killed process's lock is free.
    assert server.run({**values, "num_epochs": 100_000}, die_at=40)["code"] == -signal.SIGKILL
