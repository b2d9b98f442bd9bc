"""What the command line says and does when it is stopped, and when there is nothing to do."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pml_incremental.cli import main
from pml_incremental.config import dump_yaml
from pml_incremental.storage import newest_readable

pytestmark = pytest.mark.slow  # whole runs

START = [sys.executable, "-c", "import sys; from pml_incremental.cli import main; sys.exit(main())"]


@pytest.fixture
def config(make_values, tmp_path):
    def write(**changes):
        path = tmp_path / "tiny.yaml"
        path.write_text(dump_yaml(make_values(tmp_path / "runs", **changes)))
        return path

    return write


@pytest.mark.usefixtures("without_pictures")
def test_finished_run_says_so(config, capsys):
    path = str(config())
    assert main(["run", "-q", path]) == 0
    assert "finished already" not in capsys.readouterr().out
    assert main(["run", "-q", path]) == 0
    assert "tiny was finished already: nothing was left to learn" in capsys.readouterr().out


def test_comparison_that_is_stopped_lets_its_processes_save(config, tmp_path):
    path = config(num_epochs=100_000, strategies=["finetune", "si"], checkpoint={"iterations": 50})
    options = ["compare", str(path), "-q", "--seeds", "0", "--jobs", "2", "--strategies", "si"]
    running = subprocess.Popen([*START, *options], stderr=subprocess.PIPE, text=True)
    stage = tmp_path / "runs/tiny/seed_0/si/task_1"
    lock = tmp_path / "runs/tiny/seed_0/locks/si.owner.json"
    while not (stage / "checkpoint.safetensors").exists():
        time.sleep(0.05)
    assert lock.exists()
    os.kill(running.pid, signal.SIGTERM)
    said = running.communicate()[1]
    assert running.returncode == 143
    assert "stopped by SIGTERM; progress is saved" in said
    assert newest_readable(stage / "checkpoint.safetensors").state["trainer"]["iterations"] >= 0
    assert not lock.exists()
