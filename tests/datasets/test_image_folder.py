import logging
import os
import pickle

import numpy as np
import odd_pictures
import pytest
from PIL import Image

from pml_incremental.datasets import ImageFolder, image_files


def save(path, colour=(200, 30, 60), size=(12, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    return path


def noise(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    for name in ("dog/b.png", "dog/a.JPG", "cat/x.webp", "cat/y.jpeg", "cat/10.png", "cat/9.png"):
        save(tmp_path / name)
    return tmp_path


def test_reads_classes_in_order(root):
    folder = ImageFolder(root)
    assert folder.classes == ["cat", "dog"]
    names = [os.path.relpath(path, root) for path in folder.paths]
    expected = "cat/10.png cat/9.png cat/x.webp cat/y.jpeg dog/a.JPG dog/b.png"
    assert names == expected.split()
    assert folder.labels.tolist() == [0, 0, 0, 0, 1, 1]
    assert folder.labels.dtype == np.int64
    assert folder.test_mask is None
    assert folder.skipped == []
    assert len(folder) == 6
    assert folder.image_name(4) == str(root / "dog" / "a.JPG")


def test_items_are_rgb_images_and_labels(root):
    image, label = ImageFolder(str(root))[5]
    found = (image.mode, image.size, image.getpixel((0, 0)), label)
    assert found == ("RGB", (12, 8), (200, 30, 60), 1)
    assert isinstance(label, int)
    assert ImageFolder(root, transform=lambda image: image.size)[0] == ((12, 8), 0)


@pytest.mark.parametrize("held_out", ["test", "val", "valid", "validation"])
def test_split_folders(tmp_path, held_out):
    for name in ("train/b/1", "train/a/1", "train/a/2", f"{held_out}/a/1", f"{held_out}/c/1"):
        save(tmp_path / f"{name}.png")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ["a", "b", "c"]
    assert folder.labels.tolist() == [0, 0, 1, 0, 2]
    assert folder.test_mask.tolist() == [False, False, False, True, True]
    assert folder.image_name(3) == str(tmp_path / held_out / "a" / "1.png")


def test_a_third_side_is_said_to_be_left_out(tmp_path, caplog):
    for side in ("train", "test", "val"):
        save(tmp_path / side / "cat" / f"{side}.png")
    folder = ImageFolder(tmp_path)
    assert [path.stem for path in folder.paths] == ["train", "test"]
    assert "val is not used: training images are in train, held-out images in test" in caplog.text


def test_classes_may_be_called_train_and_test(tmp_path):
    save(tmp_path / "train" / "1.png")
    save(tmp_path / "test" / "1.png")
    folder = ImageFolder(tmp_path)
    assert folder.classes == ["test", "train"]
    assert folder.test_mask is None


def test_hidden_files_and_folders_are_ignored_and_others_reported(root, caplog):
    save(root / ".thumbnails" / "1.png")
    (root / ".DS_Store").write_text("")
    (root / "cat" / "._x.jpg").write_text("resource fork")
    with caplog.at_level(logging.WARNING):
        assert len(ImageFolder(root)) == 6
    assert not caplog.records
    (root / "cat" / "notes.txt").write_text("nice cats")
    with caplog.at_level(logging.WARNING):
        assert len(ImageFolder(root)) == 6
    assert "files left out because they are none of .jpg" in caplog.text
    assert str(root / "cat" / "notes.txt") in caplog.text


def test_symbolic_links_are_followed(root, tmp_path_factory):
    elsewhere = save(tmp_path_factory.mktemp("elsewhere") / "z.png")
    (root / "cat" / "z.png").symlink_to(elsewhere)
    assert len(ImageFolder(root)) == 7


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_truncated_image_is_named(root, suffix):
    bad = truncate(noise(root / "cat" / f"broken{suffix}"))
    with pytest.raises(ValueError, match="on_bad_image: skip") as caught:
        ImageFolder(root)
    assert f"cannot read the image {bad}" in str(caught.value)
    assert "images that cannot be read: 1;" in str(caught.value)


def test_file_that_is_no_image_is_named(root):
    bad = root / "dog" / "page.jpg"
    bad.write_text("<html>not found</html>")
    empty = root / "dog" / "void.png"
    empty.write_bytes(b"")
    with pytest.raises(ValueError, match="images that cannot be read: 2;") as caught:
        ImageFolder(root)
    assert str(bad) in str(caught.value)
    assert str(empty) in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*")  # Pillow warns of odd EXIF data, sizes and chunks
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_any_damaged_file_is_read_or_named(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    content = save(tmp_path / f"whole{suffix}", exif=exif).read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / f"damaged{suffix}"
    outcomes = set()
    for position in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[position] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            outcomes.add(image_files.read_rgb(path).mode)
        except ValueError as error:
            is_named = f"cannot read the image {path}" in str(error)
            outcomes.add("named" if is_named else str(error))
    assert outcomes == {"RGB", "named"}


def test_many_bad_images_are_counted_and_some_shown(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(14):
        (tmp_path / "a" / f"{i:02}.png").write_text("no image")
    with pytest.raises(ValueError, match=r"cannot be read: 14;[\s\S]*09.png[\s\S]*and 4 more") as e:
        ImageFolder(tmp_path)
    assert "10.png" not in str(e.value)


def test_bad_images_can_be_skipped(root, caplog):
    bad = truncate(noise(root / "cat" / "broken.jpg"))
    with caplog.at_level(logging.WARNING):
        folder = ImageFolder(root, on_bad_image="skip")
    assert folder.skipped == [bad]
    assert bad not in folder.paths
    assert len(folder) == len(folder.labels) == 6
    assert "images left out: 1" in caplog.text
    assert str(bad) in caplog.text


def test_skipping_in_a_split_folder_keeps_arrays_aligned(tmp_path):
    for name in ("train/a/1.png", "train/a/2.png", "test/a/1.png"):
        save(tmp_path / name)
    truncate(noise(tmp_path / "train" / "a" / "0.png"))
    folder = ImageFolder(tmp_path, on_bad_image="skip")
    assert folder.labels.tolist() == [0, 0, 0]
    assert folder.test_mask.tolist() == [False, False, True]


def test_class_without_a_readable_image(root):
    (root / "eel").mkdir()
    (root / "eel" / "1.png").write_text("no image")
    with pytest.raises(ValueError, match="no image of these classes can be read: eel"):
        ImageFolder(root, on_bad_image="skip")


def test_image_that_breaks_later_is_named(root):
    folder = ImageFolder(root)
    folder.paths[0].write_bytes(b"")
    with pytest.raises(ValueError, match=r"cannot read the image .*10\.png"):
        folder[0]


@pytest.mark.parametrize(("many", "progress"), [(3, True), (3, False), (500, True)])
def test_many_images_are_checked_with_a_progress_bar(root, monkeypatch, capsys, many, progress):
    monkeypatch.setattr(image_files, "MANY_IMAGES", many)
    ImageFolder(root, progress=progress)
    assert ("checking images" in capsys.readouterr().err) == (progress and many == 3)


def test_pickles(root):
    folder = pickle.loads(pickle.dumps(ImageFolder(root)))
    assert folder[0][0].size == (12, 8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "has no class folders: expected root/class/image or"),
        (["cat/1.png", "stray.png"], r"outside of any class folder: 1[\s\S]*/stray\.png"),
        (["a/1.png", "eel/", "gnu/1.gif"], r"\(.jpg, .jpeg, .png, .webp\): .*eel, .*gnu; add"),
        (["cat/1.png", "cat/young/1.png"], "cat holds another folder, young: expected root/class"),
        (
            ["train/a/1.png", "extra/a/1.png", "test/a/1.png"],
            "holds another folder, a: expected root/class/image or",
        ),
        (["train/a/1.png", "test/"], "test has no class folders"),
    ],
)
def test_folders_of_another_layout_are_refused(tmp_path, files, message):
    for name in files:
        if name.endswith("/"):
            (tmp_path / name).mkdir(parents=True)
        else:
            save(tmp_path / name)
    with pytest.raises(ValueError, match=message):
        ImageFolder(tmp_path)


def test_root_must_be_a_folder_and_the_option_one_of_two(root):
    for bad in (root / "nowhere", root / "cat" / "9.png"):
        with pytest.raises(ValueError, match=rf"a folder of class folders, got .*{bad.name}"):
            ImageFolder(bad)
    with pytest.raises(ValueError, match='on_bad_image must be "raise" or "skip", got \'ignore\''):
        ImageFolder(root, on_bad_image="ignore")


@pytest.mark.filterwarnings("ignore:Image size")
def test_decompression_bombs_are_named_and_can_be_skipped(root):
    bad = root / "dog" / "bomb.png"
    bad.write_bytes(odd_pictures.black_png(10_000, 10_000, 1))
    with pytest.raises(ValueError, match=r"cannot read the image .*bomb\.png: .*bomb"):
        ImageFolder(root)
    assert ImageFolder(root, on_bad_image="skip").skipped == [bad]


@pytest.mark.parametrize(
    ("name", "kind"), [("x.jpg", "PNG"), ("x.png", "WEBP"), ("x.webp", "JPEG")]
)
def test_images_that_are_not_what_their_names_say_are_named_and_can_be_skipped(root, name, kind):
    bad = root / "dog" / name
    Image.new("RGB", (4, 4)).save(bad, format=kind)
    with pytest.raises(ValueError, match=f"{name}: it holds a {kind} and not what its name says"):
        ImageFolder(root)
    assert ImageFolder(root, on_bad_image="skip").skipped == [bad]
