import pytest
import torch

from pml_incremental.config import TransformSpecs
from pml_incremental.experiment.assembly import build_scenario, check_models, choose_device


@pytest.mark.parametrize(
    ("gpus", "name", "message"),
    [(0, "cuda", "finds 0 CUDA GPUs"), (1, "cuda:1", "finds 1 CUDA GPU on this machine")],
)
def test_a_gpu_that_is_not_there_is_refused(monkeypatch, gpus, name, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(ValueError, match=f"device: {name} is not available: .*{message}"):
        choose_device(name)


def test_a_gpu_is_taken_where_there_is_one(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda:1")


def test_models_are_checked_without_a_download(tiny_config, tmp_path, monkeypatch):
    def download(*_, **__):
        raise AssertionError("a download was begun")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    three = [{"Grayscale": {"num_output_channels": 3}}]
    config = tiny_config(
        tmp_path,
        transforms={"train": three, "eval": three},
        models={"trunk": {"resnet18": {"weights": "IMAGENET1K_V1"}}},
    )
    state = torch.random.get_rng_state()
    task = build_scenario(config)[0]
    check_models(config, task)
    assert torch.equal(torch.random.get_rng_state(), state)
    grey = config.model_copy(update={"transforms": TransformSpecs()})
    with pytest.raises(ValueError, match="ResNet cannot take images of 16 x 16 pixels and 1 chan"):
        check_models(grey, build_scenario(grey)[0])
