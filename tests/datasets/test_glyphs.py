import pickle
import subprocess
import sys

import numpy as np
import pytest
from torch.utils.data import DataLoader

from pml_incremental.datasets import Glyphs
from pml_incremental.datasets.glyphs import (
    FACES,
    SCRIPTS,
    TEST_FACES,
    TRAIN_FACES,
    characters,
    code_points,
    draw_glyph,
    face_path,
    faces_drawing,
)


@pytest.fixture(scope="module")
def all_glyphs():
    return Glyphs()


CHARACTERS_IN_EIGHT_FILES = [453, 114, 214, 78, 82, 201, 112, 96]


@pytest.mark.parametrize(
    ("script", "count"), list(zip(SCRIPTS, CHARACTERS_IN_EIGHT_FILES, strict=True))
)
def test_characters_in_eight_files_and_in_eight_text_faces(script, count):
    files = [path.stem for path in face_path("DejaVuSans").parent.glob("*.ttf")]
    assert set(FACES) < set(files)
    script_of = characters(script)
    assert sum(sum(ord(c) in code_points(f) for f in files) >= 8 for c in script_of) == count
    # Eight mathematical operators reach eight files only with sizes, displays and the last resort.
    count -= 8 if script == "math" else 0
    assert sum(len(faces_drawing(c)) >= 8 for c in script_of) == count


def test_coverage_is_that_of_the_character_map():
    fonttools = pytest.importorskip("fontTools.ttLib")
    for face in ("DejaVuSerif", "STIXGeneralItalic"):
        with fonttools.TTFont(face_path(face)) as font:
            assert code_points(face) == set(font.getBestCmap())


def test_faces_are_disjoint_and_all_used(all_glyphs):
    assert not set(TEST_FACES) & set(TRAIN_FACES)
    assert set(all_glyphs.faces) == set(FACES)
    faces = np.array(all_glyphs.faces)
    assert set(faces[all_glyphs.test_mask]) == set(TEST_FACES)
    assert set(faces[~all_glyphs.test_mask]) == set(TRAIN_FACES)


def test_every_class_has_test_and_training_images(all_glyphs):
    n_classes = len(all_glyphs.classes)
    n_test = np.bincount(all_glyphs.labels[all_glyphs.test_mask], minlength=n_classes)
    n_train = np.bincount(all_glyphs.labels[~all_glyphs.test_mask], minlength=n_classes)
    assert n_test.min() >= 2
    assert n_train.min() >= 2
    letters = np.concatenate(all_glyphs.class_groups[:5])
    assert n_train[letters].min() >= 6


def test_no_image_is_blank_or_occurs_twice(all_glyphs):
    images = [np.asarray(all_glyphs[i][0]) for i in range(len(all_glyphs))]
    assert all(image.any() for image in images)
    of_class = {(int(y), x.tobytes()) for y, x in zip(all_glyphs.labels, images, strict=True)}
    assert len(of_class) == len(images)
    of_face = {(face, x.tobytes()) for face, x in zip(all_glyphs.faces, images, strict=True)}
    assert len(of_face) == len(images)


def test_groups_are_the_scripts(all_glyphs):
    assert all_glyphs.scripts == tuple(SCRIPTS)
    labels = [label for group in all_glyphs.class_groups for label in group]
    assert labels == list(range(len(all_glyphs.classes)))
    for script, group in zip(all_glyphs.scripts, all_glyphs.class_groups, strict=True):
        assert {all_glyphs.classes[label] for label in group} <= set(characters(script))
    assert len(set(all_glyphs.classes)) == len(all_glyphs.classes)


def test_homoglyphs_are_dropped_only_against_the_scripts_in_use(all_glyphs):
    assert "A" in all_glyphs.classes
    assert all_glyphs.left_out["Α"].startswith("looks like A in DejaVuSans")  # noqa: RUF001
    assert all_glyphs.left_out["А"].startswith("looks like A in DejaVuSans")  # noqa: RUF001
    assert "Ω" in all_glyphs.classes
    assert "Α" in Glyphs(("greek",)).classes  # noqa: RUF001
    kept = Glyphs(("latin", "greek"), drop_homoglyphs=False)
    assert {"A", "Α"} <= set(kept.classes)  # noqa: RUF001
    assert len(kept.classes) == 453 + 114
    assert not kept.left_out


def test_characters_with_too_few_different_drawings_are_left_out(all_glyphs):
    shapes = all_glyphs.class_groups[-1]
    assert 2 <= len(shapes) < 96
    assert all_glyphs.left_out["■"] == "has only 1 training and 2 test images that differ"


def test_items_and_names():
    glyphs = Glyphs("latin", max_classes_per_script=1)
    assert glyphs.scripts == ("latin",)
    image, label = glyphs[4]
    assert (image.mode, image.size, label) == ("L", (32, 32), 0)
    assert isinstance(label, int)
    assert glyphs.classes == ["A"]
    assert glyphs.image_name(4) == "U+0041 in DejaVuSans"
    assert np.array_equal(np.asarray(image), draw_glyph("A", "DejaVuSans", 32))
    with pytest.raises(IndexError):
        glyphs[len(glyphs)]


def test_images_are_white_on_black_and_centred_and_lower_case_is_smaller():
    image = draw_glyph("H", "DejaVuSans", 64)
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    assert image[0].max() == 0
    assert image.max() == 255
    assert 28 <= len(rows) <= 48
    for extent in (rows, columns):
        assert abs((extent[0] + extent[-1]) / 2 - 31.5) <= 1.5
    heights = [draw_glyph(c, "DejaVuSans", 32).any(axis=1).sum() for c in "oO"]
    assert heights[0] < heights[1]


@pytest.mark.parametrize("size", [8, 15, 32, 64])
def test_every_glyph_fits_with_a_margin(size):
    widest = ("Ǆ", "DejaVuSerif-BoldItalic"), ("∰", "STIXGeneral"), ("Ǻ", "DejaVuSans-Bold")
    for character, face in widest:
        image = draw_glyph(character, face, size)
        assert image.any()
        border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
        assert border.max() == 0


def test_classes_are_spread_over_the_script_and_do_not_depend_on_the_size():
    every = Glyphs(("armenian",)).classes
    some = Glyphs(("armenian",), max_classes_per_script=10, image_size=16)
    places = [every.index(character) for character in some.classes]
    assert places == sorted(places)
    assert len(places) == 10
    assert max(np.diff(places)) - min(np.diff(places)) <= 1
    assert some[0][0].size == (16, 16)
    assert Glyphs(("armenian",), max_classes_per_script=10_000).classes == every
    again = Glyphs(("armenian",), max_classes_per_script=10, image_size=16)
    assert again.faces == some.faces
    assert all(again[i][0].tobytes() == some[i][0].tobytes() for i in range(len(some)))


def test_pickles_and_loads_in_a_worker():
    glyphs = Glyphs(("greek",), max_classes_per_script=3, transform=np.asarray)
    copy = pickle.loads(pickle.dumps(glyphs))
    assert np.array_equal(copy[5][0], glyphs[5][0])
    batch, labels = next(iter(DataLoader(glyphs, batch_size=len(glyphs), num_workers=1)))
    assert batch.shape == (len(glyphs), 32, 32)
    assert labels.tolist() == glyphs.labels.tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scripts": ("klingon",)}, ValueError, "'klingon', which is not one of latin, greek"),
        ({"scripts": ()}, ValueError, "scripts is empty: name at least one of latin"),
        ({"scripts": ("greek", "greek")}, ValueError, "names a script twice"),
        ({"image_size": 7}, ValueError, "image_size must be at least 8, got 7"),
        ({"image_size": 32.0}, TypeError, "image_size must be an integer, got 32.0"),
        ({"max_classes_per_script": 0}, ValueError, "max_classes_per_script must be at least 1"),
        ({"max_classes_per_script": True}, TypeError, "must be an integer, got True"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Glyphs(**arguments)


def test_a_missing_font_file_is_named(monkeypatch, tmp_path):
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.setattr(matplotlib, "get_data_path", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"DejaVuSans\.ttf is missing.*reinstall"):
        face_path.__wrapped__("DejaVuSans")


def test_importing_datasets_imports_neither_matplotlib_nor_torchvision():
    code = (
        "import sys, pml_incremental.datasets; "
        "print({'matplotlib', 'torchvision'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
