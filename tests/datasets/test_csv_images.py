import logging

import pytest
from PIL import Image

from pml_incremental.datasets import CsvImages
from pml_incremental.scenarios import ClassIncrementalScenario


@pytest.fixture
def write(tmp_path):
    """Write a CSV file beside four images."""
    for number in range(4):
        folder = tmp_path / "images"
        folder.mkdir(exist_ok=True)
        Image.new("L", (8 + number, 6)).save(folder / f"{number}.png")

    def write_csv(text, encoding="utf-8"):
        path = tmp_path / "list.csv"
        path.write_text(text, encoding=encoding)
        return path

    return write_csv


ROWS = "images/0.png,wren\nimages/1.png,jay\nimages/2.png,wren\nimages/3.png,jay\n"


@pytest.mark.parametrize("slash", ["/", "\\"])  # as paths are written on Windows
def test_images_classes_and_labels(write, tmp_path, slash):
    images = CsvImages(write("path,label\n" + ROWS.replace("/", slash)))
    assert images.classes == ["jay", "wren"]
    assert images.labels.tolist() == [1, 0, 1, 0]
    assert images.test_mask is None
    image, label = images[3]
    assert (image.mode, image.size, label) == ("RGB", (11, 6), 0)
    assert images.image_name(3) == str(tmp_path / "images" / "3.png")


def test_split_column_and_others_in_any_order(write):
    text = "vendor,split,label,path\n"
    for number, split in enumerate(["train", "train", "test", "test"]):
        text += f'"a, b",{split},{number % 2},images/{number}.png\n'
    images = CsvImages(str(write(text)), transform=lambda image: image.size)
    assert images.test_mask.tolist() == [False, False, True, True]
    assert images.classes == ["0", "1"]
    assert images[2] == ((10, 6), 0)
    scenario = ClassIncrementalScenario(
        images, class_groups=[["1"], ["0"]], min_train=1, min_test=1
    )
    assert [len(task.test) for task in scenario] == [1, 1]


def test_root_absolute_paths_and_the_byte_order_mark_of_spreadsheets(write, tmp_path):
    file = write(f"path,label\n0.png,a\n{tmp_path}/images/1.png,b\n", encoding="utf-8-sig")
    assert len(CsvImages(file, root=tmp_path / "images")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path and no column label"),
        ("file,label\n" + ROWS, "has no column path: .* it is 'file,label'"),
        ("path,label\n", "lists no image"),
        ("path,label\nimages/0.png,\n", "image 1: the column label is empty"),
        ("path,label\nimages/0.png\n", "image 1: the column label is empty"),
        ("path,label\n,a\n", "image 1: the column path is empty"),
        ("path,label\n" + ROWS + "images/0.png,jay\n", "image 5: images/0.png is listed before"),
        ("path,label,split\nimages/0.png,a,val\n", "split must be train or test, got 'val'"),
        ("path,label\nimages/9.png,a\n", r"cannot be read: 1;[\s\S]*9\.png"),
    ],
)
def test_bad_lists_are_refused(write, text, message):
    with pytest.raises(ValueError, match=message):
        CsvImages(write(text))


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        CsvImages(tmp_path / "none.csv")


def test_bad_images_can_be_skipped(write, tmp_path, caplog):
    (tmp_path / "images" / "1.png").write_text("no image")
    file = write("path,label,split\n" + ROWS.replace("\n", ",train\n"))
    with pytest.raises(ValueError, match="on_bad_image: skip"):
        CsvImages(file)
    with caplog.at_level(logging.WARNING):
        images = CsvImages(file, on_bad_image="skip")
    assert (len(images), images.labels.tolist()) == (3, [1, 1, 0])
    assert len(images.test_mask) == 3
    assert images.skipped == [tmp_path / "images" / "1.png"]
    assert "images left out: 1" in caplog.text
