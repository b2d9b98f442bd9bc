"""Every example runs as a script, and says what is true."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ROW = re.compile(r"^(.+?)\s+([\d.]+)%\s+([\d.]+)%(?:\s+([\d.]+)%)?$", re.MULTILINE)

pytestmark = pytest.mark.slow


def output_of(name, folder, *arguments):
    """What an example prints, run as users run it."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def percentages(text):
    return [[float(cell) for cell in row[1:] if cell] for row in ROW.findall(text)]


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("bare_pytorch_loop", "torch"),
        ("pml_metric_loss_only", "torch"),
        ("lightning_module", "lightning"),
        ("accelerate_loop", "accelerate"),
    ],
)
def test_old_classes_are_forgotten_less_than_by_fine_tuning(name, needs, tmp_path):
    pytest.importorskip(needs)
    learned, fine_tuned, with_teacher = percentages(output_of(name, tmp_path))
    assert learned[0] > with_teacher[0] > fine_tuned[0]
    assert min(fine_tuned[1], with_teacher[1]) > learned[1] + 20


def test_pml_hooks_leave_records_and_models_and_go_on_where_they_were(tmp_path):
    folder = tmp_path / "here"
    printed = output_of("pml_hooks", tmp_path, folder)
    for task in ("task_1", "task_2"):
        assert (folder / task / "records" / "logs.db").exists()
        assert list((folder / task / "tensorboard").glob("events*"))
        (best,) = (folder / task / "models").glob("trunk_best*.pth")
        epoch = best.stem.removeprefix("trunk_best")
        assert f"{task}: epoch {epoch} is best" in printed
    assert len((folder / "summary" / "summary.csv").read_text().splitlines()) == 3
    assert output_of("pml_hooks", tmp_path, folder) == printed


def test_own_estimator_is_used_by_its_name(tmp_path):
    printed = output_of("own_estimator", tmp_path, tmp_path)
    rows = percentages(printed)
    assert len(rows) == 2
    assert all(len(row) == 3 for row in rows)
    assert "own_estimator:ScaleEstimator" in printed
    assert rows[0] != rows[1]


def test_notebook_is_the_script_and_has_its_outputs(tmp_path):
    jupytext, nbformat = pytest.importorskip("jupytext"), pytest.importorskip("nbformat")
    script = jupytext.read(EXAMPLES / "bare_pytorch_loop.py", fmt="py:percent")
    notebook = nbformat.read(EXAMPLES / "bare_pytorch_loop.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells, expected = ([(c.cell_type, c.source) for c in b.cells] for b in (notebook, script))
    hint = "run: python runners/make_notebook.py examples/bare_pytorch_loop.py"
    assert cells == expected, hint
    outputs = [out for cell in notebook.cells for out in cell.outputs]
    assert {out.output_type for out in outputs} == {"stream"}
    shown = percentages("".join(out.text for out in outputs))
    assert len(shown) == 3
    assert shown[0][0] > shown[1][0]


def test_all_examples_are_tested():
    here = Path(__file__).read_text()
    assert all(f'"{path.stem}' in here for path in EXAMPLES.glob("*.py"))
