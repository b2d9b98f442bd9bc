import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report import (
    comparison_table,
    plot_forgetting_curves,
    plot_pareto,
    print_summary,
)
from pml_incremental.report.results import Result
from pml_incremental.report.style import pareto_front


def matrix(old_at_first, old, new):
    return TaskMatrix([[0.1, 0.1], [old_at_first, 0.2], [old, new]])


MATRICES = {
    "finetune": [matrix(0.8, 0.5, 0.7), matrix(0.7, 0.6, 0.8)],
    "joint_a&b": [matrix(0.8, 0.8, 0.7), matrix(0.7, 0.7, 0.6)],
}


def test_columns_are_what_they_say():
    table = comparison_table(MATRICES, "Recall@1, in %")
    old, new, mean, average, forgetting = table.rows["finetune"]
    assert (old.mean, new.mean, mean.mean) == pytest.approx((0.55, 0.75, 0.65))
    assert old.std == pytest.approx(np.std([0.5, 0.6], ddof=1))
    assert average.mean == pytest.approx(np.mean([(0.8 + 0.6) / 2, (0.7 + 0.7) / 2]))
    assert forgetting.mean == pytest.approx(np.mean([0.3, 0.1]))


def test_markdown_marks_the_best():
    lines = comparison_table(MATRICES, "Recall@1, in %").to_markdown().splitlines()
    assert lines[0] == "Recall@1, in %"
    head = "| strategy | old | new | mean | average incremental | forgetting (d"
    assert lines[2].startswith(head)
    assert lines[4].startswith("| finetune | 55.0 ± 7.1 | **75.0 ± 7.1** |")
    assert lines[5].endswith("| **0.0 ± 0.0** |")


def test_latex_is_escaped():
    text = comparison_table(MATRICES, "in %").to_latex()
    assert r"joint\_a\&b & \textbf{75.0 $\pm$ 7.1} & 65.0 $\pm$ 7.1" in text
    assert text.startswith("% in %\n\\begin{tabular}{lrrrrr}\n\\toprule\n")


def test_csv_has_all_digits_and_no_spread_for_one_seed():
    text = comparison_table({"l2": [matrix(0.8, 1 / 3, 0.7)]}, "x").to_csv()
    header, row = (line.split(",") for line in text.replace('"', "").splitlines())
    assert row[:3] == ["l2", "0.3333333333333333", ""]
    assert header[0] == "strategy"


def test_one_task_has_no_old_ones_and_a_strategy_has_runs():
    table = comparison_table({"l2": [TaskMatrix([[0.1], [0.8]])]}, "x")
    assert math.isnan(table.rows["l2"][0].mean)
    assert "| l2 | \N{EN DASH} | 80.0 | 80.0 |" in table.to_markdown()
    with pytest.raises(ValueError, match="l2 has no matrix"):
        comparison_table({"l2": []}, "x")


def test_front_of_random_points_is_not_beaten():
    generator = np.random.default_rng(0)
    points = [tuple(point) for point in generator.integers(0, 9, (40, 2)).tolist()]
    front = pareto_front(points)
    for point in set(points):
        beaten = any(o != point and o[0] >= point[0] and o[1] >= point[1] for o in points)
        assert (point in front) is not beaten


def test_pictures_are_written(tmp_path):
    plot_pareto(MATRICES, tmp_path / "pareto.svg")
    plot_forgetting_curves(MATRICES, tmp_path / "forgetting.svg")
    for name in ("pareto", "forgetting"):
        assert "<svg" in (tmp_path / f"{name}.svg").read_text()


DASH = "\N{EN DASH}"
FINETUNE = TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]])
BETTER = TaskMatrix([[0.2, 0.1], [0.9, 0.25], [0.8, 0.9]])


def result(**strategies):
    names = ("own/recall_at_1", "joint/recall_at_1")
    found = {name: dict.fromkeys(names, matrix) for name, matrix in strategies.items()}
    return Result("demo [draft]", Path("runs/demo"), found)


def printed(found, **options):
    console = Console(width=80, **options)
    with console.capture() as captured:
        print_summary(found, console)
    return captured.get()


def test_one_line_per_strategy_with_the_numbers_of_the_matrices():
    lines = printed(result(finetune=FINETUNE, correlation=BETTER)).splitlines()
    assert lines[0].startswith("demo [draft]: Recall@1 in %")
    last = [" ".join(line.split()) for line in lines[-2:]]
    assert last[0] == "finetune 60.0 90.0 75.0 82.5 30.0 +20.0 75.0"
    assert last[1] == "correlation 80.0 90.0 85.0 87.5 10.0 +15.0 85.0"


def test_it_fits_80_columns_and_loses_nothing_of_longer_names():
    text = printed(result(**{"correlation+ewc1": FINETUNE, "a" * 30: BETTER}))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    assert text.count("a") >= 30


def test_the_best_of_each_column_is_bold():
    colours = {"force_terminal": True, "color_system": "standard"}
    text = printed(result(finetune=FINETUNE, better=BETTER), **colours)
    bold = [part.split("\x1b[0m")[0].strip() for part in text.splitlines()[-1].split("\x1b[1m")[1:]]
    assert bold == ["80.0", "85.0", "87.5", "10.0", "85.0"]


def test_equal_strategies_have_no_best_and_one_task_no_forgetting():
    same = printed(result(a=FINETUNE, b=FINETUNE), force_terminal=True, color_system="standard")
    assert "\x1b[1m" not in "".join(same.splitlines()[-2:])
    one = printed(result(a=TaskMatrix([[0.1], [0.9]]))).splitlines()[-1]
    assert one.split() == ["a", DASH, "90.0", "90.0", "90.0", DASH, DASH, "90.0"]


def test_a_missing_metric_is_named():
    incomplete = Result("demo", Path("runs/demo"), {"a": {"own/recall_at_1": FINETUNE}})
    with pytest.raises(ValueError, match=r"joint/recall_at_1 was not measured for \['a'\]"):
        print_summary(incomplete)
