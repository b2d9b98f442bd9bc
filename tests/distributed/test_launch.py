import pytest
import torch

from pml_incremental.distributed import Processes, own_device, process_group
from pml_incremental.distributed.launch import is_first_process

TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.fixture
def launched(monkeypatch):
    """As the second of two processes of one machine."""
    for name, value in {**TORCHRUN, "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_alone_without_a_launcher(monkeypatch):
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)
    with process_group(torch.device("cpu")) as processes:
        assert processes == Processes(0, 1)
        assert not torch.distributed.is_initialized()
    assert is_first_process()


@pytest.mark.usefixtures("launched")
def test_alone_if_the_launcher_started_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "1")
    with process_group(torch.device("cpu")) as processes:
        assert not processes.is_distributed


@pytest.mark.usefixtures("launched")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "several processes train on CPUs or CUDA GPUs, not on mps"),
        ("cuda:0", "device cuda:0 is one GPU, but each process needs its own: write cuda"),
        ("cuda", "2 processes on this machine cannot each have one of its 1 GPUs: start 1"),
    ],
)
def test_devices_that_cannot_be_shared(device, message):
    with pytest.raises(ValueError, match=message), process_group(torch.device(device)):
        pass
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures("launched")
def test_each_process_has_its_own_gpu():
    assert own_device(torch.device("cuda"), Processes(1, 2)) == torch.device("cuda", 1)
    assert own_device(torch.device("cuda"), Processes()) == torch.device("cuda")
    assert own_device(torch.device("cpu"), Processes(1, 2)) == torch.device("cpu")
    assert not is_first_process()
