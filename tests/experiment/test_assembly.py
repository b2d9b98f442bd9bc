import pytest
import torch

from pml_incremental.experiment.assembly import choose_device


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [(0, "cuda", "finds no CUDA GPUs"), (1, "cuda:1", "finds 1 CUDA GPU on this machine")],
)
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, gpus, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=f"device: {name} is not there: .*{message}"):
        choose_device(name)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")
