import math
import re
import subprocess
import sys
from html import unescape

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report import (
    LabelledImage,
    RetrievalRow,
    plot_retrieval_grid,
    plot_task_curves,
    plot_task_matrix,
)
from pml_incremental.report.style import RIGHT, WRONG

OWN = TaskMatrix([[0.2, 0.125], [0.9, 0.3], [0.724, 1.0]])
JOINT = TaskMatrix([[math.nan] * 2, [0.8, math.nan], [0.5, 0.6]])


@pytest.fixture
def texts(tmp_path):
    """Draws as SVG and gives the texts in it, in drawing order."""

    def draw(plot, *args, **kwargs):
        path = tmp_path / "picture.svg"
        with mpl.rc_context({"svg.fonttype": "none"}):
            plot(*args, path=path, **kwargs)
        found = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))
        return [unescape(text).strip() for text in found]

    return draw


def pixels_of(path, color):
    picture = np.asarray(Image.open(path).convert("RGB")).astype(int)
    target = np.array(to_rgb(color)) * 255
    return int((np.abs(picture - target).max(axis=-1) < 3).sum())


def labelled(label, mode="RGB", size=(8, 8), name=None):
    return LabelledImage(Image.new(mode, size), label, name or f"class {label}")


def test_the_matrix_shows_every_value_in_percent(texts):
    found = texts(plot_task_matrix, OWN, title="finetune: costs $5 & $6")
    assert {"20.0", "12.5", "90.0", "30.0", "72.4", "100.0"} <= set(found)
    assert {"before", "task 1", "task 2", "tested on task", "after learning"} <= set(found)
    assert "finetune: costs $5 & $6" in found
    assert any("mean 86.2" in text and "forgetting (diagonal) 17.6" in text for text in found)


def test_what_was_not_measured_is_blank(texts):
    found = texts(plot_task_matrix, JOINT)
    assert sum(bool(re.fullmatch(r"\d+\.\d", text)) for text in found) == 3
    assert "before" not in found
    assert not any("nan" in text.lower() for text in found)


@pytest.mark.parametrize("tasks", [1, 8])
@pytest.mark.parametrize("ending", ["png", "pdf"])
def test_matrices_of_few_and_many_tasks_are_written(tmp_path, tasks, ending):
    path = tmp_path / f"matrix.{ending}"
    plot_task_matrix(TaskMatrix(np.full((tasks + 1, tasks), 0.5)), path, "Recall@1")
    assert path.stat().st_size > 1000


def test_the_colours_of_a_value_do_not_depend_on_the_others(tmp_path):
    low, high = tmp_path / "low.png", tmp_path / "high.png"
    plot_task_matrix(TaskMatrix([[0.5], [0.1]]), low)
    plot_task_matrix(TaskMatrix([[0.5], [0.9]]), high)
    blue = mpl.colormaps["Blues"](0.5)[:3]
    assert pixels_of(low, blue) > 1000
    assert pixels_of(high, blue) == pytest.approx(pixels_of(low, blue), rel=0.05)


def test_curves_have_a_panel_per_task_and_one_legend(texts):
    found = texts(plot_task_curves, {"finetune": OWN, "a+b": JOINT}, metric_name="Recall@1")
    once = ["task 1", "task 2", "mean of the tasks seen", "finetune", "a+b", "not learned yet"]
    assert [found.count(text) for text in once] == [1] * len(once)
    assert "Recall@1, in %" in found


def test_curves_of_many_strategies_of_one_task_and_of_nothing_measured(tmp_path):
    for name, matrices in {
        "many": {f"strategy {i}": OWN for i in range(12)},
        "one": {"finetune": TaskMatrix([[0.1], [0.9]])},
        "nothing": {"finetune": TaskMatrix.empty(3)},
    }.items():
        plot_task_curves(matrices, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 1000


def test_curves_of_different_tasks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"got \{'a': 2, 'b': 1\}"):
        plot_task_curves({"a": OWN, "b": TaskMatrix.empty(1)}, tmp_path / "curves.png")
    with pytest.raises(ValueError, match=r"got \{\}"):
        plot_task_curves({}, tmp_path / "curves.png")
    assert not list(tmp_path.iterdir())


def test_the_grid_frames_right_and_wrong_apart(tmp_path):
    right, wrong = (labelled(0),) * 5, (labelled(1),) * 5
    path = tmp_path / "grid.png"

    plot_retrieval_grid(path, [RetrievalRow(labelled(0), right)], "finetune")
    assert pixels_of(path, RIGHT) > 5 * pixels_of(path, WRONG)

    plot_retrieval_grid(path, [RetrievalRow(labelled(0), wrong)], "finetune")
    assert pixels_of(path, WRONG) > 5 * pixels_of(path, RIGHT)


def test_the_grid_names_classes_ranks_and_marks_without_colour(texts):
    long = labelled(1, name="Black footed Albatross")
    rows = [RetrievalRow(labelled(0), (labelled(0), long)), RetrievalRow(labelled(2), (long,))]

    found = texts(lambda path: plot_retrieval_grid(path, rows, "correlation"))

    assert "correlation" in found
    assert found.count("class 0") == 2
    assert found.count("Black footed Al\N{HORIZONTAL ELLIPSIS}") == 2
    assert (found.count("\N{CHECK MARK}"), found.count("\N{BALLOT X}")) == (1, 2)
    assert {"query", "1", "2"} <= set(found)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_the_grid_takes_any_image(tmp_path, mode):
    row = RetrievalRow(labelled(0, mode, (3, 9)), (labelled(0, mode, (9, 3)),))
    plot_retrieval_grid(tmp_path / "grid.png", [row])
    assert (tmp_path / "grid.png").stat().st_size > 1000


def test_an_empty_grid_is_refused(tmp_path):
    for rows in ([], [RetrievalRow(labelled(0), ())]):
        with pytest.raises(ValueError, match="nothing to draw"):
            plot_retrieval_grid(tmp_path / "grid.png", rows)


def test_pictures_leave_pyplot_alone_and_imports_stay_light(tmp_path):
    code = f"""
import sys
import pml_incremental.metrics
assert "pytorch_metric_learning" not in sys.modules
from pml_incremental.report import plot_task_matrix
assert "matplotlib" not in sys.modules
plot_task_matrix(pml_incremental.metrics.TaskMatrix([[0.5], [0.5]]), {str(tmp_path / "m.png")!r})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
