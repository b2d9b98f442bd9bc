import re
from html import unescape

import matplotlib as mpl
import pytest
from rich.console import Console

from pml_incremental.report import plot_estimation_error, print_diagnosis
from pml_incremental.report.results import Diagnosis, EstimationRow

LINES = {
    "teacher itself": {1: 0.1, 2: 0.3, 3: 0.5},
    "LinearEstimator": {1: 0.02, 2: 0.08, 3: 0.0},
    "MLP of $mine$": {1: 0.03, 2: 0.09, 3: 0.2},
}
PANELS = {
    "finetune": {"on old": LINES, "on new": LINES},
    "fecd costs $5 & $6": {"on old": LINES, "on new": {"teacher itself": {1: 0.1}}},
}


def svg(tmp_path, panels, **kwargs):
    path = tmp_path / "picture.svg"
    with mpl.rc_context({"svg.fonttype": "none"}):
        plot_estimation_error(panels, path, **kwargs)
    return path.read_text(encoding="utf-8")


def texts(picture):
    return [unescape(text).strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", picture)]


def test_every_panel_estimator_and_age_is_named(tmp_path):
    found = texts(svg(tmp_path, PANELS, title="demo: error of $all$"))
    for name in ("finetune", "fecd costs $5 & $6", "demo: error of $all$", "1", "2", "3"):
        assert name in found
    assert found.count("on old") == found.count("on new") == 2
    for estimator in LINES:
        assert found.count(estimator) == 1  # one legend for all panels


def test_the_teacher_itself_is_dashed_in_each_panel(tmp_path):
    # Four panels and the legend.
    assert svg(tmp_path, PANELS).count("stroke-dasharray") == 5


def test_one_panel_without_baseline_and_one_age(tmp_path):
    plot_estimation_error({"s": {"all": {"mine": {1: 0.5}}}}, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 0


@pytest.mark.parametrize(
    "panels", [{}, {"a": {}}, {"a": {"x": LINES}, "b": {"y": LINES}}], ids=["none", "empty", "odd"]
)
def test_panels_must_agree(tmp_path, panels):
    with pytest.raises(ValueError, match="must have the same panels, at least one"):
        plot_estimation_error(panels, tmp_path / "picture.png")


def rows(strategy, estimator, observed_on, divergence, correlation, nbytes):
    return [
        EstimationRow(strategy, 3, 1, images, estimator, observed_on, d, correlation, 0.5, nbytes)
        for images, d in (("train", divergence), ("test", 2 * divergence))
    ]


def test_the_table_compares_with_the_teacher_of_the_same_strategy():
    found = [
        *rows("a", "teacher itself", "", 0.4, 0.75, 0),
        *rows("a", "LinearEstimator", "new", 0.1, 0.875, 123_456),
        *rows("b", "teacher itself", "", 0.0, float("nan"), 0),
        *rows("b", "LinearEstimator", "new", 0.1, 1.0, 123_456),
    ]
    console = Console(width=80)
    with console.capture() as printed:
        print_diagnosis(Diagnosis("demo", 80, 7_000_000, tuple(found)), console)
    lines = [line.split() for line in printed.get().splitlines()]
    assert ["LinearEstimator", "new", "0.250", "0.250", "0.875", "0.875", "123,456"] in lines
    assert ["teacher", "itself", "1.000", "1.000", "0.750", "0.750", "0"] in lines
    assert ["teacher", "itself", *["\N{EN DASH}"] * 4, "0"] in lines
    assert "7,000,000" in printed.get()
    assert "features have moved by 0.50 at task 3" in printed.get()
    assert max(map(len, printed.get().splitlines())) <= 80
