"""The same seed gives the same run, in whatever process."""

import pytest
import torch

from pml_incremental.experiment.environment import apply_torch_settings

pytestmark = pytest.mark.slow  # whole runs
NO_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, NO_CUDA])])
def test_two_fresh_processes_give_the_same(
    server, new_server, make_values, left_by, tmp_path, device
):
    for name, fresh in (("one", server), ("two", new_server)):
        values = make_values(tmp_path / name, deterministic=True, device=device)
        assert fresh.run(values)["code"] == 0
    assert left_by(tmp_path / "one/tiny") == left_by(tmp_path / "two/tiny")


@pytest.fixture
def as_before():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("as_before")
def test_deterministic_is_a_setting_of_torch(make_config, tmp_path, monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    apply_torch_settings(make_config(tmp_path, deterministic=True))
    assert torch.are_deterministic_algorithms_enabled()
    apply_torch_settings(make_config(tmp_path))
    assert not torch.are_deterministic_algorithms_enabled()
