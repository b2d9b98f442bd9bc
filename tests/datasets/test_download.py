"""Downloads: over a loopback server and file addresses, into one folder and no other."""

import functools
import http.server
import io
import tarfile
import threading
import zipfile

import pytest

from pml_incremental import datasets
from pml_incremental.datasets import published
from pml_incremental.datasets._download import Archive, find_archives, unpack


def write_tar(path, members, mode="w:gz"):
    """A tar file of (TarInfo or name, content)."""
    with tarfile.open(path, mode) as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_zip(path, names):
    with zipfile.ZipFile(path, "w") as zipped:
        for name in names:
            zipped.writestr(name, "content")
    return path


def link(name, target, kind):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def pack(folder, archive, mode="w:gz"):
    """An archive of what a folder holds, which is then gone."""
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as zipped:
            for path in sorted(folder.rglob("*")):
                zipped.write(path, path.relative_to(folder))
    else:
        with tarfile.open(archive, mode) as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, path.name)
    return archive


def md5(path):
    from torchvision.datasets.utils import calculate_md5

    return calculate_md5(path)


@pytest.fixture
def served(tmp_path):
    """A folder that a server on the loopback device gives out, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def birds(served):
    """An archive that a server gives out, as it is listed."""
    folder, url = served
    file = write_tar(folder / "a.tgz", [("birds/1.txt", b"wren")])
    return Archive(f"{url}/a.tgz", "a.tgz", ("birds",), md5(file))


def test_archive_is_fetched_checked_unpacked_and_removed(birds, tmp_path):
    root = tmp_path / "new" / "root"
    find_archives(root, [birds], "A", True)
    assert (root / "birds" / "1.txt").read_bytes() == b"wren"
    assert [path.name for path in root.iterdir()] == ["birds"]
    nowhere = birds._replace(url="http://127.0.0.1:1/x")
    find_archives(root, [nowhere], "A", True)  # what is there is not fetched again


def test_nothing_is_fetched_unasked(birds, tmp_path):
    with pytest.raises(ValueError, match=r"A is incomplete under .*: birds missing"):
        find_archives(tmp_path / "root", [birds], "A", False)
    assert not (tmp_path / "root").exists()


def test_half_an_archive_from_before_is_not_trusted(birds, served, tmp_path):
    (tmp_path / "a.tgz").write_bytes((served[0] / "a.tgz").read_bytes()[:20])
    find_archives(tmp_path, [birds._replace(md5=None)], "A", True)
    assert (tmp_path / "birds" / "1.txt").is_file()


@pytest.mark.parametrize(
    ("change", "error", "message", "left"),
    [
        (
            lambda a: a._replace(md5="0" * 32),
            ValueError,
            r"a\.tgz has another MD5 checksum than .* 000",
            [],
        ),
        (
            lambda a: a._replace(holds=("bees",)),
            ValueError,
            r"A is incomplete under .*: bees missing",
            ["birds"],
        ),
        (lambda a: a._replace(url=a.url + "x"), OSError, "404", []),
    ],
)
def test_what_comes_is_not_what_is_listed(birds, tmp_path, change, error, message, left):
    with pytest.raises(error, match=message):
        find_archives(tmp_path / "root", [change(birds)], "A", True)
    assert [path.name for path in (tmp_path / "root").iterdir()] == left


def test_part_of_a_dataset_is_not_mixed_with_a_download(tmp_path):
    (tmp_path / "birds").mkdir()
    archive = Archive("http://127.0.0.1:1/x", "x", ("birds/list.txt", "birds/images"))
    with pytest.raises(ValueError, match=r"has birds but lacks birds/list\.txt, birds/images"):
        find_archives(tmp_path, [archive], "A", True)


HOSTILE = ["../outside.txt", "birds/../../outside.txt", "/tmp/outside.txt", r"..\outside.txt"]


@pytest.mark.parametrize("name", [*HOSTILE, r"C:\outside.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_member_outside_of_the_root_is_refused(tmp_path, name, kind):
    root = tmp_path / "deep" / "root"
    root.mkdir(parents=True)
    names = ["birds/1.txt", name]
    if kind == "tar":
        archive = write_tar(root / "a.tgz", [(name, b"x") for name in names])
    else:
        archive = write_zip(root / "a.zip", names)
    with pytest.raises(ValueError, match="would be unpacked outside the folder"):
        unpack(archive, root)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    root = tmp_path / "root"
    root.mkdir()
    members = [(link("birds", str(tmp_path), kind), b""), ("birds/outside.txt", b"x")]
    archive = write_tar(root / "a.tar", members, "w")
    with pytest.raises(ValueError, match="'birds', a link or a device"):
        unpack(archive, root)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [archive]


def test_link_in_a_zip_becomes_a_plain_file(tmp_path):
    info = zipfile.ZipInfo("birds")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(info, "/etc")
    unpack(tmp_path / "a.zip", tmp_path)
    assert not (tmp_path / "birds").is_symlink()
    assert (tmp_path / "birds").read_text() == "/etc"


def test_damaged_archive_leaves_no_half_dataset(tmp_path):
    content = bytes(range(256)) * 2000
    archive = write_tar(tmp_path / "a.tgz", [(f"birds/{i}.bin", content) for i in range(5)])
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"a\.tgz is damaged"):
        unpack(archive, tmp_path)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_page_in_place_of_an_archive(tmp_path, content):
    (tmp_path / "a.tgz").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.tgz is damaged"):
        unpack(tmp_path / "a.tgz", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "birds").mkdir()
    archive = write_tar(tmp_path / "a.tgz", [("birds/1.txt", b"x"), ("list.txt", b"x")])
    with pytest.raises(ValueError, match=r"cannot unpack .*: birds in .* already"):
        unpack(archive, tmp_path)
    assert not (tmp_path / "list.txt").exists()


PML_ARCHIVES = {"CUB": "CUB_200_2011.tgz", "Cars196": "a.zip", "StanfordOnlineProducts": "a.zip"}


@pytest.mark.parametrize("name", PML_ARCHIVES)
def test_datasets_over_pml_download(make_tree, monkeypatch, tmp_path, name):
    import pytorch_metric_learning.datasets as pml

    archive = pack(make_tree(name), tmp_path / PML_ARCHIVES[name])
    monkeypatch.setattr(getattr(pml, name), "DOWNLOAD_URL", archive.as_uri())
    monkeypatch.setattr(published, "CUB_MD5", md5(archive))
    root = tmp_path / "downloaded"
    assert len(getattr(datasets, name)(root, download=True)) == 24
    archive.unlink()
    assert len(getattr(datasets, name)(root, download=True)) == 24


def test_inaturalist_goes_on_where_it_was_interrupted(make_tree, monkeypatch, tmp_path):
    import pytorch_metric_learning.datasets as pml

    tree = make_tree("INaturalist2018")
    names = {
        "IMG_DOWNLOAD_URL": "train_val2018",
        "TRAIN_ANN_URL": "train2018.json",
        "VAL_ANN_URL": "val2018.json",
        "SPLITS_URL": "Inat_dataset_splits",
    }
    for constant, name in names.items():
        single = tmp_path / "single" / constant
        single.mkdir(parents=True)
        (tree / name).rename(single / name)
        suffix = ".zip" if constant == "SPLITS_URL" else ".tar.gz"
        archive = pack(single, tmp_path / f"{constant}{suffix}")
        monkeypatch.setattr(pml.INaturalist2018, constant, archive.as_uri())
        if name in published.INATURALIST_MD5:
            monkeypatch.setitem(published.INATURALIST_MD5, name, md5(archive))
    last = tmp_path / "SPLITS_URL.zip"
    content = last.read_bytes()
    last.write_bytes(content[:50])
    with pytest.raises(ValueError, match="is damaged"):
        datasets.INaturalist2018(tree, download=True)
    last.write_bytes(content)
    (tmp_path / "IMG_DOWNLOAD_URL.tar.gz").unlink()
    assert len(datasets.INaturalist2018(tree, download=True)) == 24


def test_stanford_dogs_download(make_tree, monkeypatch, tmp_path):
    tree = make_tree("StanfordDogs")
    lists = tmp_path / "lists"
    lists.mkdir()
    for file in tree.glob("*.mat"):
        file.rename(lists / file.name)
    files = pack(tree, tmp_path / "images.tar", "w"), pack(lists, tmp_path / "lists.tar", "w")
    moved = [
        archive._replace(url=file.as_uri())
        for archive, file in zip(published.DOGS_ARCHIVES, files, strict=True)
    ]
    monkeypatch.setattr(published, "DOGS_ARCHIVES", moved)
    root = tmp_path / "downloaded"
    assert len(datasets.StanfordDogs(root, download=True)) == 24
    names = ["Images", "file_list.mat", "test_list.mat", "train_list.mat"]
    assert sorted(path.name for path in root.iterdir()) == names


def test_datasets_over_torchvision_download(make_tree, monkeypatch, served):
    from torchvision.datasets import CIFAR100

    folder, url = served
    archive = pack(make_tree("CIFAR100"), folder / "cifar-100-python.tar.gz")
    monkeypatch.setattr(CIFAR100, "url", f"{url}/{archive.name}")
    root = folder.parent / "downloaded"
    with pytest.raises(ValueError, match=r"CIFAR100 is incomplete under .*corrupted"):
        datasets.CIFAR100(root, download=True)  # the archive is not the published one
    monkeypatch.setattr(CIFAR100, "tgz_md5", md5(archive))
    assert len(datasets.CIFAR100(root, download=True)) == 24
