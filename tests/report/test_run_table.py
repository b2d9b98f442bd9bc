from pathlib import Path

import pytest
from rich.console import Console

from pml_incremental.metrics import TaskMatrix
from pml_incremental.report import print_summary
from pml_incremental.report.results import Result

DASH = "\N{EN DASH}"
FINETUNE = TaskMatrix([[0.2, 0.1], [0.9, 0.3], [0.6, 0.9]])
BETTER = TaskMatrix([[0.2, 0.1], [0.9, 0.25], [0.8, 0.9]])


def result(**strategies):
    return Result(
        "demo [draft]",
        Path("runs/demo"),
        {
            name: {"own/recall_at_1": matrix, "joint/recall_at_1": matrix}
            for name, matrix in strategies.items()
        },
    )


def printed(found, **options):
    console = Console(width=80, **options)
    with console.capture() as captured:
        print_summary(found, console)
    return captured.get()


def test_one_line_per_strategy_with_the_numbers_of_the_matrices():
    lines = printed(result(finetune=FINETUNE, correlation=BETTER)).splitlines()
    assert lines[0].startswith("demo [draft]: Recall@1 in %")
    assert lines[-2].split() == [
        "finetune",
        "60.0",
        "90.0",
        "75.0",
        "82.5",
        "30.0",
        "+20.0",
        "75.0",
    ]
    assert lines[-1].split() == [
        "correlation",
        "80.0",
        "90.0",
        "85.0",
        "87.5",
        "10.0",
        "+15.0",
        "85.0",
    ]


def test_it_fits_80_columns_and_loses_nothing_of_longer_names():
    text = printed(result(**{"correlation+ewc1": FINETUNE, "a" * 30: BETTER}))
    assert all(len(line) <= 80 for line in text.splitlines())
    assert "…" not in text
    assert text.count("a") >= 30


def test_the_best_of_each_column_is_bold():
    text = printed(
        result(finetune=FINETUNE, better=BETTER), force_terminal=True, color_system="standard"
    )
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
