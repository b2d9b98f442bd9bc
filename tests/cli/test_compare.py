import sys

import pytest
import typer
from typer.testing import CliRunner

from pml_incremental.cli.compare import register

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

CONFIG = """
threads: 1
dataset:
  Glyphs: {scripts: [armenian, georgian], max_classes_per_script: 8, image_size: 16}
scenario: {ClassIncrementalScenario: {class_groups: natural}}
models:
  trunk: {SmallConvNet: {width: 4}}
  embedder: {MLP: {layer_sizes: [8]}}
loss_funcs: {metric_loss: TripletMarginLoss}
sampler: {MPerClassSampler: {m: 4}}
optimizers: {trunk_optimizer: Adam, embedder_optimizer: Adam}
trainer: {IncrementalMetricLoss: {batch_size: 16, iterations_per_epoch: 2}}
num_epochs: 1
strategies: [finetune, {l2: {weight: 3}}]
"""


@pytest.fixture
def command(tmp_path):
    (tmp_path / "small.yaml").write_text(CONFIG)
    app = typer.Typer()
    register(app)

    @app.callback()
    def root():
        pass

    def call(name, *options):
        arguments = [name, str(tmp_path / "small.yaml"), f"output={tmp_path}", *options]
        return CliRunner().invoke(app, arguments)

    return call


def test_compare_prints_the_table(command, tmp_path):
    result = command("compare", "--strategies", "l2,frozen", "--seeds", "0,1", "--quiet")
    assert result.exit_code == 0, result.output
    assert "l2-weight_3" in result.output
    assert "±" in result.output
    lines = (tmp_path / "small/report/table.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["strategy", "l2-weight_3", "frozen"]


def test_strategies_have_options_as_in_yaml(command, tmp_path):
    chosen = "finetune, l2: {weight: 2}, correlation+si: {si: {weight: 3}}"
    result = command("compare", "--strategies", chosen, "--seeds", "0", "--quiet")
    assert result.exit_code == 0, result.output
    lines = (tmp_path / "small/report/table.csv").read_text().splitlines()
    named = ["finetune", "l2-weight_2", "correlation+si-si.weight_3"]
    assert [line.split(",")[0] for line in lines[1:]] == named


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "0,x"], "--seeds: must be different numbers such as 0,1,2, got '0,x'"),
        (["--seeds", "0,0"], "--seeds: must be different numbers"),
        (
            ["--strategies", "l2,ewcc"],
            "command line: --strategies: strategies.1.ewcc: there is no strategy 'ewcc'; did you "
            "mean 'ewc'?",
        ),
        (["--strategies", "l2,"], "command line: --strategies: a name is missing in 'l2,'; leave"),
        (["--strategies", "l2: {"], "command line: --strategies: line 1, column 7: expected"),
        (["--strategies", "l2: 3"], "command line: --strategies: 'l2' is where a class name"),
        (["--cluster", "slurm"], "are for --engine submitit; add it"),
    ],
)
def test_wrong_options_are_named(command, tmp_path, options, message):
    result = command("compare", *options)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "small").exists()


def test_engine_option_without_value_and_a_failed_run_are_messages(command):
    result = command("compare", "--quiet", "trainer.IncrementalMetricLoss.batch_size=800")
    assert result.exit_code == 1
    assert "a batch of 800 takes" in result.output
    pytest.importorskip("submitit")
    result = command("compare", "--engine", "submitit", "--engine-option", "fast")
    assert result.exit_code == 2
    assert "write key=value, got 'fast'" in result.output


def test_tune_says_what_is_best(command, tmp_path):
    pytest.importorskip("optuna")
    result = command("tune", "--strategy", "l2", "--trials", "1", "--quiet")
    assert result.exit_code == 0, result.output
    assert "best of 1 trials, Recall@1" in result.output
    file = tmp_path / "small_tune/best_l2-weight_3.yaml"
    assert file.exists()
    assert "l2:\n  weight: " in result.output
    assert f"written: {file}; next: pml-incremental run {file}\n" in result.output


def test_a_wrong_strategy_to_tune_is_named_and_one_is_wanted(command):
    result = command("tune")
    assert result.exit_code == 2
    assert "choose one with --strategy from finetune, l2" in result.output
    pytest.importorskip("optuna")
    result = command("tune", "--strategy", "l3")
    assert result.exit_code == 2
    assert "command line: --strategy: strategies.0.l3: there is no strategy" in result.output


@pytest.mark.parametrize(
    ("options", "package", "extra"),
    [
        (["tune", "--strategy", "l2"], "optuna", "tune"),
        (["compare", "--engine", "submitit"], "submitit", "cluster"),
    ],
)
def test_missing_extra_is_named(command, monkeypatch, options, package, extra):
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    result = command(*options)
    assert result.exit_code == 2
    assert f'needs {package}: pip install "pml-incremental[{extra}]"' in result.output
    assert "Traceback" not in result.output
