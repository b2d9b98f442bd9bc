"""What does without pytorch-metric-learning, and what is said where its version 2 is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITHOUT = "functional estimators metrics search scenarios regularizers gallery stores probes"


def python(code, *paths):
    found = os.pathsep.join(map(str, [*paths, ROOT]))
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": found}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_most_of_the_package_is_imported_without_pml():
    code = f"import sys\nfor name in {WITHOUT.split()}: __import__('pml_incremental.' + name)\n"
    done = python(code + "assert 'pytorch_metric_learning' not in sys.modules")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("part", ["losses", "trainers", "testers", "hooks"])
def test_a_pml_without_trainers_is_refused_in_one_sentence(part, tmp_path):
    (tmp_path / "pytorch_metric_learning").mkdir()
    (tmp_path / "pytorch_metric_learning/__init__.py").touch()
    done = python(f"import pml_incremental.{part}", tmp_path)
    *_, sentence = done.stderr.strip().splitlines()
    assert sentence.startswith(
        "pml_incremental.extras.MissingExtraError: losses, trainers, testers, hooks and commands of"
    )
    assert "need pytorch-metric-learning>=2.9,<3, and version " in sentence


def test_a_command_says_so_without_a_traceback(tmp_path):
    (tmp_path / "pytorch_metric_learning").mkdir()
    (tmp_path / "pytorch_metric_learning/__init__.py").touch()
    run = "from pml_incremental.cli import app; app(['run', 'glyphs', 'name=x', '--quiet'])"
    done = python(run, tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("losses, trainers, testers, hooks and commands of")
    assert "Traceback" not in done.stderr
