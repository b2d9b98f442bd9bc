import pytest
import torch
from safetensors.torch import load_file, save_file

from pml_incremental.storage import (
    DamagedFileError,
    newest_readable,
    read_tensor_file,
    remove_generations,
    write_generation,
    write_tensor_file,
)

TENSORS = {
    "float": torch.randn(3, 2).T,
    "half": torch.randn(4).to(torch.bfloat16),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(7),
    "flags": torch.tensor([True, False]),
}


@pytest.fixture
def file(tmp_path):
    write_tensor_file(tmp_path / "x.safetensors", TENSORS, {"epoch": 2})
    return tmp_path / "x.safetensors"


def test_tensors_and_state_come_back(file):
    found = read_tensor_file(file, "learn again")
    assert found.state == {"epoch": 2}
    assert found.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
    assert load_file(file).keys() == TENSORS.keys()  # also for others to read


def test_tied_weights_can_be_written(tmp_path):
    weight = torch.ones(2)
    write_tensor_file(tmp_path / "x", {"a": weight, "b": weight, "c": weight[:1]})
    found = read_tensor_file(tmp_path / "x", "").tensors
    assert [t.tolist() for _, t in sorted(found.items())] == [[1, 1], [1, 1], [1]]


def test_every_single_bit_counts(file):
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        for bit in (0, 5):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            file.write_bytes(damaged)
            with pytest.raises(DamagedFileError, match=r"x\.safetensors .*learn again"):
                read_tensor_file(file, "learn again")


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_truncated_file_is_named(file, keep):
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match=r"x\.safetensors is damaged: .*; learn again"):
        read_tensor_file(file, "learn again")


def test_newer_and_missing_files_are_refused_and_older_ones_read(file):
    save_file({"a": torch.ones(1)}, file, metadata={"format_version": "2"})
    with pytest.raises(DamagedFileError, match="has format '2', and this version reads 1"):
        read_tensor_file(file, "learn again")
    save_file({"a": torch.ones(1)}, file)  # without a checksum
    assert read_tensor_file(file, "").tensors["a"].tolist() == [1]
    file.unlink()
    with pytest.raises(FileNotFoundError, match="safetensors is missing; learn again"):
        read_tensor_file(file, "learn again")


def test_generations(tmp_path, caplog):
    path = tmp_path / "checkpoint"
    assert newest_readable(path) is None
    for epoch in range(3):
        write_generation(path, TENSORS, epoch)
    assert newest_readable(path).state == 2
    path.write_bytes(b"x")
    assert newest_readable(path).state == 1
    assert f"{path} is damaged" in caplog.text
    write_generation(path, TENSORS, 3)
    remove_generations(path)
    assert list(tmp_path.iterdir()) == []
