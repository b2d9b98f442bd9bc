"""Omniglot from zip files, and whose drawings are held out; its folders: test_published.py."""

import io
import subprocess
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from PIL import Image

from pml_incremental.config import load_config, validate
from pml_incremental.datasets import Omniglot
from pml_incremental.scenarios import ClassIncrementalScenario

ROOT = Path(__file__).parents[2]
SMALL = ROOT.parent / "shared" / "data" / "omniglot_small1.zip"
CHARACTERS = ["Latin/character01", "Greek/character02", "Greek/character01"]
DRAWERS = (3, 1, 2)


def png(ink_rows, size=(105, 105)):
    """A drawing whose first rows are ink."""
    pixels = np.ones(size[::-1], dtype=bool)
    pixels[:ink_rows] = False
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def members(characters=CHARACTERS, top="images_background_small1/"):
    """Names and contents as published, in no order; the ink tells character and drawer."""
    return {
        f"{top}{name}/{900 + number:04}_{drawer:02}.png": png(10 * number + drawer)
        for number, name in enumerate(characters)
        for drawer in DRAWERS
    }


@pytest.fixture
def write(tmp_path):
    def save(contents, name="small.zip"):
        with ZipFile(tmp_path / name, "w", ZIP_DEFLATED) as file:
            for member, content in contents.items():
                file.writestr(member, content)
        return tmp_path / name

    return save


def test_reads_a_zip_file_in_the_order_of_names(write):
    file = write(members())
    dataset = Omniglot(file)
    assert dataset.classes == ["Greek/character01", "Greek/character02", "Latin/character01"]
    assert dataset.class_groups == [[0, 1], [2]]
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert dataset.labels.dtype == np.int64
    assert dataset.drawers.tolist() == [1, 2, 3] * 3
    assert dataset.test_mask is None
    for index, number in enumerate([2, 2, 2, 1, 1, 1, 0, 0, 0]):
        image, label = dataset[index]
        assert (image.mode, image.size) == ("L", (105, 105))
        assert label == dataset.labels[index]
        assert isinstance(label, int)
        ink = 10 * number + dataset.drawers[index]
        assert np.array_equal(np.asarray(image)[:, 0], [0] * ink + [255] * (105 - ink))
    inside = "images_background_small1/Greek/character01/0902_01.png"
    assert dataset.paths[0] == file / inside
    assert dataset.image_name(0) == str(file / inside)


def test_a_list_of_zip_files_is_one_dataset(write):
    first = write(members(CHARACTERS[:1], "images_background/"), "a.zip")
    second = write(members(CHARACTERS[1:], "images_evaluation/"), "b.zip")
    dataset = Omniglot([str(second), first])
    assert dataset.classes == sorted(CHARACTERS)
    assert [path.parents[3] for path in dataset.paths] == [first] * 3 + [second] * 6


def test_other_files_and_folders_above_do_not_matter(write):
    others = {
        "images_background/": b"",
        "__MACOSX/images_background/Greek/character01/._0901_01.png": b"x",
        "images_background/Greek/.DS_Store": b"x",
    }
    assert len(Omniglot(write({**others, **members(top="")}, "OMNIGLOT.ZIP"))) == 9


def test_folder_and_zip_file_give_the_same(make_tree, write):
    root = make_tree("Omniglot")
    base = root / "omniglot-py"
    files = {file.relative_to(base).as_posix(): file for file in base.rglob("*.png")}
    zipped = write({name: file.read_bytes() for name, file in files.items()})
    chosen = {"train_drawers": [1, 3, 4], "test_drawers": [6, 2], "image_size": 16, "invert": True}
    one, other = Omniglot(root, **chosen), Omniglot(zipped, **chosen)
    names = [[path.name for path in dataset.paths] for dataset in (one, other)]
    assert names[0] == names[1]
    for name in ("labels", "classes", "class_groups", "drawers", "test_mask"):
        assert np.array_equal(np.asarray(getattr(one, name)), np.asarray(getattr(other, name)))
    assert all(one[index][0].tobytes() == other[index][0].tobytes() for index in range(len(one)))


def test_drawers_are_trained_on_held_out_or_left_out(write):
    file = write(members())

    def split(**arguments):
        dataset = Omniglot(file, **arguments)
        mask = dataset.test_mask
        return dataset.drawers[:3].tolist(), None if mask is None else mask[:3].tolist()

    assert split(test_drawers=[3]) == ([1, 2, 3], [False, False, True])
    assert split(train_drawers=[2], test_drawers=(3, 1)) == ([1, 2, 3], [True, False, True])
    only = Omniglot(file, train_drawers=[2], test_drawers=[1])
    assert only.drawers.tolist() == [1, 2] * 3
    assert only.test_mask.tolist() == [True, False] * 3
    assert {path.stem[-2:] for path in only.paths} == {"01", "02"}
    assert Omniglot(file, train_drawers=[2, 3]).drawers.tolist() == [2, 3] * 3
    assert Omniglot(file, train_drawers=[2, 3]).test_mask is None


def test_drawings_of_those_left_out_are_not_read(write):
    contents = members()
    damaged = {name: b"" if "_03" in name else content for name, content in contents.items()}
    file = write(damaged)
    assert len(Omniglot(file, train_drawers=[1], test_drawers=[2])) == 6
    with pytest.raises(ValueError, match="cannot read the drawing"):
        Omniglot(file, test_drawers=[2])


def test_size_and_inversion(write):
    file = write(members())
    full = Omniglot(file)
    small = Omniglot(file, image_size=32, invert=True)
    for index in (0, 8):
        expected = full[index][0].resize((32, 32), Image.Resampling.BILINEAR)
        assert np.array_equal(np.asarray(small[index][0]), 255 - np.asarray(expected))
    assert small[0][0].mode == "L"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"test_drawers": []}, ValueError, "test_drawers must name drawers, got none; .* 1, 2, 3"),
        ({"test_drawers": [3, 21]}, ValueError, "test_drawers .* got 21; there are 1, 2, 3"),
        ({"train_drawers": [0]}, ValueError, "train_drawers must name drawers, got 0"),
        ({"train_drawers": [1, 2], "test_drawers": [2]}, ValueError, "both name 2: leave each"),
        ({"test_drawers": [1, 2, 3]}, ValueError, "no image is left to train on; name fewer"),
        ({"test_drawers": "12"}, TypeError, r"a list of integers, such as \[15, 16\], got '12'"),
        ({"test_drawers": ["01"]}, TypeError, "test_drawers must be a list of integers"),
        ({"train_drawers": [True]}, TypeError, "train_drawers must be a list of integers"),
        ({"test_drawers": 3}, TypeError, "got 3"),
        ({"image_size": 7}, ValueError, "image_size must be at least 8, got 7"),
    ],
)
def test_bad_arguments(write, arguments, error, message):
    with pytest.raises(error, match=message):
        Omniglot(write(members()), **arguments)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not a PNG; download .*small.zip again"),
        (png(3)[:60], "cannot read the drawing"),
        (png(3, size=(105, 28)), "has 105 x 28 pixels, not the published 105 x 105"),
    ],
)
def test_a_damaged_drawing_is_named(write, content, message):
    name = "images_background_small1/Greek/character01/0902_02.png"
    with pytest.raises(ValueError, match=message) as raised:
        Omniglot(write({**members(), name: content}))
    assert name in str(raised.value)


def test_a_flipped_byte_is_found(write):
    file = write({name: content for name, content in members().items() if "Latin" in name})
    content = bytearray(file.read_bytes())
    content[120] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read the drawing .*Latin.*_03\.png"):
        Omniglot(file)


def test_bad_zip_files(write, tmp_path):
    cut = tmp_path / "cut.zip"
    cut.write_bytes(write(members()).read_bytes()[:200])
    with pytest.raises(
        ValueError, match=r"cut\.zip is not a complete zip file .*download it again"
    ):
        Omniglot(cut)
    with pytest.raises(ValueError, match=r"there is no zip file .*none\.zip.*give root the path"):
        Omniglot(tmp_path / "none.zip", download=True)
    strokes = write({"strokes_background/Greek/character01/0901_01.txt": b"x"}, "strokes.zip")
    with pytest.raises(ValueError, match=r"strokes\.zip holds no drawing .*<alphabet>/<character>"):
        Omniglot(strokes)
    with pytest.raises(ValueError, match=r"0900_03\.png and .* are the same drawing: leave out"):
        Omniglot([write(members()), write(members(top="all/"), "again.zip")])
    with pytest.raises(ValueError, match="root must list zip files, got none"):
        Omniglot([])
    with pytest.raises(ValueError, match="root must list zip files, got the folder"):
        Omniglot([tmp_path])


def test_zip_files_need_no_torchvision(write):
    code = (
        "import sys; from pml_incremental.datasets import Omniglot; "
        f"print(len(Omniglot({str(write(members()))!r})), 'torchvision' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["9", "False"]


@pytest.mark.parametrize("root", ["small.zip", ["images_background.zip", "images_evaluation.zip"]])
def test_a_config_may_name_one_zip_file_or_several(root):
    config = load_config([ROOT / "configs" / "omniglot.yaml"], [f"dataset.Omniglot.root={root}"])
    validate(config)
    assert config.dataset.kwargs["root"] == root


def test_the_config_differs_from_that_of_glyphs_in_the_dataset_alone():
    glyphs, omniglot = (
        load_config([ROOT / "configs" / f"{name}.yaml"]).to_yaml_dict()
        for name in ("glyphs", "omniglot")
    )
    assert {key for key in glyphs if glyphs[key] != omniglot[key]} == {"name", "dataset"}


def test_the_published_small_set_by_held_out_drawers():
    if not SMALL.is_file():
        pytest.skip(f"the development drawings {SMALL} are not there")
    config = load_config([ROOT / "configs" / "omniglot.yaml"], [f"dataset.Omniglot.root={SMALL}"])
    dataset = config.dataset.build("dataset")
    scenario = ClassIncrementalScenario(dataset, class_groups="natural")
    assert [len(task.classes) for task in scenario] == [24, 22, 24, 40, 26]
    for task in scenario:
        assert len(task.train) == 14 * len(task.classes)
        assert len(task.test) == 6 * len(task.classes)
    assert set(dataset.drawers[dataset.test_mask]) == {15, 16, 17, 18, 19, 20}
    pixels = np.stack([np.asarray(image) for image, _ in dataset])
    assert pixels.shape == (2720, 32, 32)
    assert 0 < pixels.mean() < 60  # ink is light and little
    assert pixels.max(axis=(1, 2)).min() > 128  # and in every image
