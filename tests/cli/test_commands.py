import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import typer
from PIL import Image

from pml_incremental import __version__
from pml_incremental.cli import main
from pml_incremental.cli.common import clean_errors, program, shows_traceback

CONFIG = """\
dataset: {Glyphs: {scripts: [armenian, georgian], max_classes_per_script: 6}}
scenario: {ClassIncrementalScenario: {class_groups: natural}}
models: {trunk: {SmallConvNet: {width: 4}}, embedder: {MLP: {layer_sizes: [8]}}}
loss_funcs: {metric_loss: {TripletMarginLoss: {margin: 0.1, distance: CosineSimilarity}}}
mining_funcs: {tuple_miner: MultiSimilarityMiner}
sampler: {MPerClassSampler: {m: 4}}
optimizers:
  trunk_optimizer: {Adam: {lr: 1e-3}}
  embedder_optimizer: {Adam: {lr: 1e-3}}
trainer: {IncrementalMetricLoss: {batch_size: 24, iterations_per_epoch: 2}}
num_epochs: 1
threads: 1
"""
LEFT_OUT = """\
classes left out: 1, rare (too few images: at least 2 to learn from and 2 to test with are needed)
classes left out: 1, spare (class_groups does not name them)
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "tiny.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def two_folders(config):
    """Changes of the config for two tasks of folders; one class is too small, one unused."""
    for name, images in {"a": 5, "b": 5, "c": 5, "d": 5, "rare": 1, "spare": 5}.items():
        Path("images", name).mkdir(parents=True)
        for number in range(images):
            Image.new("RGB", (28, 28)).save(Path("images", name, f"{number}.png"))
    return [
        "dataset={ImageFolder: {root: images}}",
        "scenario.ClassIncrementalScenario.class_groups=[[a, b], [c, d, rare]]",
        "scenario.ClassIncrementalScenario.on_small_class=drop",
        "models.trunk.SmallConvNet.in_channels=3",
        "trainer.IncrementalMetricLoss.batch_size=4",
        "sampler.MPerClassSampler.m=2",
    ]


def test_version_and_help_name_the_commands(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pml-incremental {__version__}\n"
    for command in ([], ["--help"]):
        assert main(command) == 0
        out = capsys.readouterr().out
        assert all(f" {name} " in out for name in ("run", "validate", "diagnose", "list"))


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from pml_incremental.cli import main; main(['--help']); "
        "print([m for m in ('torch', 'torchvision', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_validate_shows_what_would_be_run(capsys, config):
    assert main(["validate", str(config), "seed=3", "loss_weights.metric_loss=2"]) == 0
    out = capsys.readouterr().out
    assert "tiny is valid" in out
    for text in ("TripletMarginLoss", "finetune", "correlation", "metric_loss: 2", "│ 3 "):
        assert text in out


def test_validate_shows_the_tasks_and_leaves_nothing_behind(capsys, config, two_folders):
    changes = [*two_folders, "device=cpu", "strategies=[finetune, {l2: {weight: 3}}]"]
    assert main(["validate", str(config), *changes]) == 0
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines()]
    assert ["1", "2", "6", "4"] in rows
    assert ["2", "2", "6", "4"] in rows
    assert LEFT_OUT in out
    assert out.endswith("each learned with finetune, l2-weight_3; device: cpu\n")
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("dataset.ImageFolder.root=nothere", "nothere, which is none"),
        (
            "scenario.ClassIncrementalScenario={class_groups: null, classes_per_task: [4, 20]}",
            "classes_per_task asks for 24 classes",
        ),
        ("trainer.IncrementalMetricLoss.batch_size=40", "a batch of 40 takes"),
        ("device=cuda:99", "cuda:99 is not available"),
    ],
)
def test_validate_refuses_what_run_refuses(capsys, config, two_folders, change, message):
    arguments = [str(config), *two_folders, change]
    assert main(["run", *arguments]) == 1
    said = capsys.readouterr().err
    assert message in said
    assert main(["validate", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.err == said
    assert captured.out == ""
    assert main(["validate", "--no-data", *arguments]) == 0
    assert "tiny is valid" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["run", "validate"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny.yaml", "sed=1"], "command line: sed: unknown key; did you mean 'seed'?"),
        (["tiny.yaml", "trainer=X"], "command line: trainer.X: there is no trainer 'X'"),
        (["tiny.yaml", "seed.x=1", "seed"], "'seed' is neither a .yaml file nor key=value"),
        (["tiny"], "list configs'; did you mean the file tiny.yaml?"),
        (["."], "'.' is neither a .yaml file nor key=value"),
        (["tini.yaml"], "tini.yaml: there is no such file; did you mean 'tiny.yaml'?"),
        (["runs/lr=1/none.yaml"], "runs/lr=1/none.yaml: there is no such file"),
        (["seed=1"], "no config is given; name a .yaml file or one of 'pml-incremental list"),
    ],
)
def test_wrong_configs_give_a_message_alone(capsys, config, command, arguments, message):
    assert main([command, *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not Path("runs").exists()


def test_unknown_commands_and_options():
    for command in (["rnu"], ["run"], ["run", "--silent", "tiny.yaml"]):
        assert main(command) == 2


LISTED = """
    losses CorrelationDistillationLoss pml-incremental
    estimators MLPEstimator pml-incremental
    miners MultiSimilarityMiner PML
    samplers MPerClassSampler PML
    distances CosineSimilarity PML
    reducers ThresholdReducer PML
    regularizers LpRegularizer PML
    datasets Glyphs pml-incremental
    models resnet18 torchvision
    trainers IncrementalMetricLoss pml-incremental
    testers IncrementalTester pml-incremental
    strategies correlation pml-incremental
    optimizers Adam torch
    lr_schedulers StepLR torch
    scenarios ClassIncrementalScenario pml-incremental
    transforms RandomResizedCrop torchvision
"""


@pytest.mark.parametrize(
    ("group", "name", "origin"), [line.split() for line in LISTED.strip().splitlines()]
)
def test_list(capsys, group, name, origin):
    assert main(["list", group]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["│", name, "│", origin, "│"] in [row[:5] for row in rows]


def test_configs_of_the_package_are_listed_and_taken_by_name(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["list", "configs"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    listed = [row[1] for row in rows if row[:1] == ["│"]]
    assert {"glyphs", "folder", "losses/rkd"} <= set(listed)
    assert main(["validate", "glyphs", "losses/rkd", "seed=2"]) == 0
    out = capsys.readouterr().out
    assert "glyphs is valid" in out
    assert "RelationalDistillationLoss" in out
    assert main(["list", "loses"]) == 2
    assert "there is no group 'loses'; did you mean 'losses'?" in capsys.readouterr().err


def test_run_trains_writes_and_ends_with_a_table(capsys, config):
    assert main(["run", str(config), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert "Recall@1" in captured.out
    assert "finetune" in captured.out
    assert "correlation" in captured.out
    assert captured.out.endswith("written: runs/tiny; next: pml-incremental report runs/tiny\n")
    assert json.loads(Path("runs/tiny/metrics.json").read_text())
    # The resolved config can be run again; it finds everything done.
    assert main(["run", "runs/tiny/config.yaml", "--quiet"]) == 0
    assert "finetune" in capsys.readouterr().out
    # Another config may not take that folder.
    assert main(["run", str(config), "seed=1"]) == 1
    error = capsys.readouterr().err
    assert "has a run with a different config" in error
    assert "Traceback" not in error
    again = ["run", str(config), "seed=1"]
    for command in ([*again, "--traceback"], ["--traceback", *again]):
        with pytest.raises(ValueError, match="has a run with a different config"):
            main(command)


@pytest.mark.parametrize(
    "command",
    [
        ["init", "new", "--data", "empty"],
        ["report", "empty"],
        ["gallery", "search", "empty", "empty"],
        ["gallery", "build", "empty", "g", "--weights", "none.safetensors"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("config")
def test_every_command_shows_a_traceback_if_asked(capsys, command):
    Path("empty").mkdir()
    assert main(command) == 1
    said = capsys.readouterr().err
    assert "empty" in said
    assert "--traceback" not in said  # of what the user has done, the message says enough
    with pytest.raises(ValueError, match="empty"):
        main([*command, "--traceback"])


@pytest.mark.parametrize(
    ("failing", "is_for_users"),
    [
        ("from pml_incremental.wording import some_of; some_of(1)", False),  # no raise of ours
        ("int('one')", False),
        ("raise ValueError('of other code')", False),
        ("from pml_incremental.datasets import ImageFolder; ImageFolder('none')", True),
        ("open('none')", True),
    ],
)
def test_where_in_the_code_is_offered_for_what_no_message_of_ours_says(
    tmp_path, monkeypatch, capsys, failing, is_for_users
):
    monkeypatch.chdir(tmp_path)
    shows_traceback.set(False)
    with pytest.raises(typer.Exit), clean_errors():
        exec(failing)
    assert ("--traceback" not in capsys.readouterr().err) == is_for_users


@pytest.mark.usefixtures("without_pictures")
def test_run_with_the_users_own_loss(capsys, config):
    Path("cli_test_losses.py").write_text(
        "from pytorch_metric_learning.losses import ContrastiveLoss\n"
        "class Mine(ContrastiveLoss):\n"
        "    '''My own.'''\n"
    )
    own = "loss_funcs.metric_loss={cli_test_losses:Mine: {neg_margin: 0.5}}"
    command = ["run", "-q", "tiny.yaml", own, "strategies=[finetune]", "mining_funcs="]
    assert main(command) == 2
    assert "allow_imports: [cli_test_losses]" in capsys.readouterr().err
    assert main([*command, "allow_imports=[cli_test_losses]"]) == 0
    assert "cli_test_losses:Mine" in Path("runs/tiny/config.yaml").read_text()


@pytest.mark.usefixtures("without_pictures")
def test_other_commands_find_the_users_own_classes(capsys, config, monkeypatch):
    Path("cli_test_steps.py").write_text(
        "class Mine:\n    def __call__(self, image):\n        return image\n"
    )
    own = ["transforms.eval=[cli_test_steps:Mine]", "allow_imports=[cli_test_steps]"]
    assert main(["run", "-q", "tiny.yaml", "strategies=[finetune]", *own]) == 0
    Path("images/a").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("L", (28, 28)).save(Path("images/a", name))
    # As in a process of its own.
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != str(Path.cwd())])
    monkeypatch.delitem(sys.modules, "cli_test_steps")
    model = ["--run", "runs/tiny", "--strategy", "finetune", "--task", "1"]
    assert main(["gallery", "build", "images", "images.gallery", *model]) == 0
    assert "written: images.gallery" in capsys.readouterr().out


@pytest.mark.usefixtures("without_pictures")
def test_run_says_which_classes_it_leaves_out(capsys, config, two_folders):
    changes = [*two_folders, "strategies=[finetune]"]
    assert main(["run", "-q", str(config), *changes]) == 0
    assert LEFT_OUT in capsys.readouterr().out


def test_a_missing_extra_is_said_in_a_message(capsys, config, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    assert main(["run", str(config), "models.trunk={timm_trunk: {name: resnet18}}"]) == 2
    said = 'timm_trunk needs timm: pip install "pml-incremental[timm]"\n'
    assert capsys.readouterr().err == said


@pytest.mark.usefixtures("without_pictures")
@pytest.mark.parametrize("command", [["run"], ["compare", "--seeds", "0"]])
def test_download_fetches_the_dataset_and_stays_out_of_the_config(
    config, make_tree, monkeypatch, command
):
    from pml_incremental.datasets import StanfordDogs, published

    tree = make_tree("StanfordDogs")
    archives = []
    for number, archive in enumerate(published.DOGS_ARCHIVES):
        file = tree.parent / f"{number}.tar"
        with tarfile.open(file, "w") as tar:
            for name in archive.holds:
                tar.add(tree / name, name)
        archives.append(archive._replace(url=file.as_uri()))
    monkeypatch.setattr(published, "DOGS_ARCHIVES", archives)
    arguments = [
        *command,
        str(config),
        f"dataset={{StanfordDogs: {{root: {tree.parent / 'fetched'}}}}}",
        "scenario={ClassIncrementalScenario: {class_groups: [[0, 1], [2, 3]]}}",
        "models.trunk.SmallConvNet.in_channels=3",
        "trainer.IncrementalMetricLoss.batch_size=8",
        "strategies=[finetune]",
        "--quiet",
    ]
    assert main(arguments) == 1
    assert main([*arguments, "--download"]) == 0
    assert len(StanfordDogs(tree.parent / "fetched")) == 24
    written = [path.read_text() for path in Path("runs").rglob("config.yaml")]
    assert written
    assert not any("download:" in text for text in written)


def test_download_of_what_is_not_to_be_downloaded(config, capsys):
    assert main(["run", str(config), "--download"]) == 2
    assert "--download: Glyphs cannot be downloaded; omit it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folders", "own", "expected"),
    [
        (["bin"], None, "pml-incremental"),
        (["elsewhere", "bin"], None, "pml-incremental"),
        (["elsewhere"], None, "bin/pml-incremental"),
        (["bin"], ".", "bin/pml-incremental"),  # as tox puts its own before PATH
    ],
)
def test_a_program_that_is_not_on_path_is_named_by_its_place(
    tmp_path, monkeypatch, folders, own, expected
):
    (tmp_path / "bin").mkdir()
    started = tmp_path / "bin" / "pml-incremental"
    started.touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(started)])
    monkeypatch.setenv("PATH", os.pathsep.join(str(tmp_path / folder) for folder in folders))
    monkeypatch.delenv("TOX_ENV_DIR", raising=False)
    if own is not None:
        monkeypatch.setenv("TOX_ENV_DIR", str(tmp_path / own))
    assert program() == expected
