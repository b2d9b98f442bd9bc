import warnings

import numpy as np
import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image
from torch.utils.data import ConcatDataset

from pml_incremental.report import plot_retrieval_grid, retrieval_rows
from pml_incremental.report.fonts import families_for
from pml_incremental.report.retrieval_grid import LabelledImage, caption
from pml_incremental.report.style import NOTE, shorten


def images(labels):
    return [(Image.new("L", (4, 4), 10 * label), label) for label in labels]


def test_rows_over_the_joint_gallery_of_two_tasks():
    joint = ConcatDataset([images([0, 0]), images([7, 7, 8])])
    embeddings = torch.tensor([[0.0], [2.0], [1.0], [9.0], [8.0]])

    first, last = retrieval_rows(joint, embeddings, [0, 4], {0: "a", 7: "b", 8: "c"}, k=2)

    assert (first.query.class_name, first.query.label) == ("a", 0)
    assert [item.class_name for item in first.found] == ["b", "a"]
    assert first.hits() == (False, True)
    assert np.asarray(first.found[0].image).max() == 70
    assert [item.class_name for item in last.found] == ["b", "a"]
    assert last.hits() == (False, False)


def test_rows_need_images_that_match_the_embeddings():
    with pytest.raises(ValueError, match="dataset has 2 images but embeddings has 3 rows"):
        retrieval_rows(images([0, 0]), torch.zeros(3, 1), [0], ["a"])
    tensors = [(torch.zeros(1, 4, 4), 0)] * 2
    with pytest.raises(TypeError, match=r"image 1 is a Tensor.*with_transform\(None\)"):
        retrieval_rows(tensors, torch.zeros(2, 1), [1], ["a"])


def test_queries_and_depths_that_are_none_are_errors():
    for query in (-1, 2):
        with pytest.raises(ValueError, match="queries must be rows within 0 to 2"):
            retrieval_rows(images([0, 0]), torch.zeros(2, 1), [query], ["a"])
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        retrieval_rows(images([0, 0]), torch.zeros(2, 1), [0], ["a"], k=0)


BIRD, ELVISH = "\N{CJK UNIFIED IDEOGRAPH-9CE5}", "\ue011"  # the latter in no script of Unicode


@pytest.fixture
def font_with_birds(tmp_path, monkeypatch):
    """A font of one family more on the machine, with one glyph: a square."""
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in [(0, 900), (900, 900), (900, 0)]:
        pen.lineTo(corner)
    pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "bird"])
    font.setupCharacterMap({ord(BIRD): "bird"})
    font.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "bird": pen.glyph()})
    font.setupHorizontalMetrics(dict.fromkeys((".notdef", "bird"), (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Birds", "styleName": "Regular"})
    font.setupOS2(usWeightClass=400)
    font.setupPost()
    font.save(tmp_path / "birds.ttf")
    font_manager.fontManager.addfont(tmp_path / "birds.ttf")
    return "Birds"


def draw(path, names):
    """A picture of images of these classes, drawn without a warning, and its pixels."""
    items = [LabelledImage(Image.new("L", (4, 4)), n, name) for n, name in enumerate(names)]
    (row,) = retrieval_rows(
        [(item.image, item.label) for item in items], torch.zeros(len(items), 1), [0], names
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_retrieval_grid(path, [row])
    with Image.open(path) as picture:
        return picture.info.get(NOTE), np.asarray(picture.convert("L"))


def test_names_are_written_in_a_font_that_has_them(tmp_path, font_with_birds):
    usual = families_for("wren")
    assert families_for(f"wren {BIRD}") == (*usual, font_with_birds)
    assert families_for("совы") == usual
    legend, drawn = draw(tmp_path / "birds.png", ["wren", BIRD])
    _, nameless = draw(tmp_path / "nameless.png", ["wren", ""])
    assert legend is None
    caption_of_bird = np.argwhere(drawn < nameless)
    height, width = np.ptp(caption_of_bird, axis=0) + 1
    assert height == pytest.approx(0.9 * 8 / 72 * 160, abs=2)  # 8 points at 160 dots an inch
    assert width == pytest.approx(height, abs=2)


def test_names_that_no_font_has_are_in_the_legend(tmp_path, caplog):
    assert families_for(ELVISH) == ()
    assert caption(LabelledImage(Image.new("L", (4, 4)), 7, ELVISH)) == (
        "class 7",
        families_for("wren"),
    )
    legend, _ = draw(tmp_path / "grid.png", ["wren", ELVISH])
    assert legend == f"class 1: {ELVISH}"
    assert f"install one, such as Noto Sans CJK\nclass 1: {ELVISH}" in caplog.text


def test_wide_characters_count_twice():
    assert shorten("12345678901234567", 16) == "123456789012345…"
    assert shorten(BIRD * 8, 16) == BIRD * 8
    assert shorten(BIRD * 9, 16) == BIRD * 7 + "…"
