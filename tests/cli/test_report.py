import re

import pytest
import typer
from typer.testing import CliRunner

from pml_incremental.cli.report import register
from pml_incremental.experiment import run
from pml_incremental.experiment.finished_run import FinishedRun


def invoke(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.mark.usefixtures("without_pictures")
def test_report_of_a_real_run_with_and_without_its_models(tmp_path, tiny_config):
    finished = run(tiny_config(tmp_path, strategies=["finetune"]), progress=False)
    plain = invoke(finished.folder)
    assert plain.exit_code == 0, plain.output
    assert "Forgotten queries" not in (finished.folder / "report.html").read_text()

    closer = invoke(finished.folder, "--details", "--out", tmp_path / "closer.html")
    assert closer.exit_code == 0, closer.output
    assert re.search(r"asking tiny, finetune: 100%.* 4/4 ", closer.output), closer.output
    quiet = invoke(finished.folder, "--details", "--quiet", "-o", tmp_path / "quiet.html")
    assert quiet.output == f"written: {tmp_path / 'quiet.html'}\n"
    (finished.folder / "diagnosis.json").unlink()
    quiet = invoke(finished.folder, "--details", "--quiet", "-o", tmp_path / "quiet.html")
    assert quiet.output == f"written: {tmp_path / 'quiet.html'}\n"
    text = (tmp_path / "closer.html").read_text()
    titles = "How sure|Forgetting by class|Forgotten queries|Before and after each task"
    titles += "|Estimates of earlier models|Old indexes|Unknown classes"
    for title in titles.split("|"):
        assert f"<h2>{title}" in text
    assert "Observed on: the images that the estimator learned from" in text
    end = finished.strategies["finetune"]["own/recall_at_1"].last()
    assert text.count("before the task: place") == 3 * 2
    low, high = (float(x) for x in _interval(text))
    assert low / 100 <= end <= high / 100


def _interval(text):
    return re.search(r">(\d+\.\d) to (\d+\.\d)</td>", text).groups()


def test_what_is_no_run_is_said(tmp_path):
    found = invoke(tmp_path)
    assert found.exit_code == 1
    assert "metrics.json is missing: give the folder of a finished run" in found.output


def test_the_folder_of_a_comparison_leads_to_its_runs(tmp_path):
    for seed in (1, 0):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}/metrics.json").write_text("{}")
    found = invoke(tmp_path)
    said = "metrics.json is missing: give a folder of a finished run in it: seed_0, seed_1"
    assert said in found.output
    assert "what compare wrote" not in found.output
    (tmp_path / "report").mkdir()
    found = invoke(tmp_path)
    assert f"what compare wrote about all of them is in {tmp_path / 'report'}" in found.output
    with pytest.raises(ValueError, match=r"no metrics\.json; give .*: seed_0, seed_1"):
        FinishedRun(tmp_path)
