"""Options of training in whole runs: compiled trunks, half precision, cached teachers."""

from functools import partial

import pytest
import torch
from safetensors.torch import load_file

from pml_incremental.config import ConfigError
from pml_incremental.experiment import run
from pml_incremental.experiment.running import learn
from pml_incremental.models import check_compiler, compiled, modes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]  # whole runs

MODELS = {"trunk": {"SmallConvNet": {"width": 4}}, "embedder": {"MLP": {"layer_sizes": [8]}}}
COMPILED = {"models": {**MODELS, "compile": True}}
STRATEGIES = [{"correlation+ewc+ema-teacher": {"ema-teacher": {"momentum": 0.5}}}]


def trained_with(**options):
    return {"trainer": {"IncrementalMetricLoss": {"batch_size": 16, **options}}}


def weights(result):
    return {
        f"{path.parent.parent.name}/{path.parent.name}/{key}": value
        for path in sorted(result.folder.rglob("model.safetensors"))
        for key, value in load_file(path).items()
    }


def distance(first, second):
    """The largest of all differences of two sets of weights of the same names."""
    assert first.keys() == second.keys()
    return max(float((first[key].double() - second[key].double()).abs().max()) for key in first)


def test_compiled_run_equals_a_plain_one_where_kernels_are_the_same(
    tiny_config, tmp_path, monkeypatch
):
    """Names of weights reach files, penalties and a teacher that moves."""
    torch.compiler.reset()
    calls = []

    def backend(graph, inputs):
        calls.append(graph)
        return graph

    plain = run(tiny_config(tmp_path / "plain", 2, strategies=STRATEGIES), progress=False)
    monkeypatch.setattr(learn, "compiled", partial(compiled, backend=backend))
    config = tiny_config(tmp_path / "compiled", 2, strategies=STRATEGIES, **COMPILED)
    fast = run(config, progress=False)
    assert calls
    assert distance(weights(plain), weights(fast)) == 0


def test_compiled_run_learns_the_same_up_to_rounding(tiny_config, tmp_path):
    try:
        check_compiler()
    except ValueError as error:
        pytest.skip(str(error))
    torch.compiler.reset()
    options = {"strategies": ["correlation"], **trained_with(iterations_per_epoch=2)}
    plain = run(tiny_config(tmp_path / "plain", 2, **options), progress=False)
    config = tiny_config(tmp_path / "compiled", 2, **options, **COMPILED)
    assert distance(weights(plain), weights(run(config, progress=False))) < 1e-3


def test_missing_compiler_is_found_before_anything_is_learned(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr(modes.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match=r"models\.compile needs a C\+\+ compiler"):
        run(tiny_config(tmp_path, **COMPILED), progress=False)
    assert not list(tmp_path.rglob("*.json"))


def test_half_precision_learns_nearly_the_same(tiny_config, tmp_path):
    plain = weights(run(tiny_config(tmp_path / "fp32", 2), progress=False))
    options = trained_with(iterations_per_epoch=3, precision="bf16")
    half = weights(run(tiny_config(tmp_path / "bf16", 2, **options), progress=False))
    assert all(value.dtype != torch.bfloat16 for value in half.values())
    assert 0 < distance(plain, half) < 0.1


def test_cached_teacher_gives_what_a_computed_one_gives(tiny_config, tmp_path):
    options = {"strategies": ["fecd"], "transforms": {"train": ["ToTensor"]}}
    results = []
    for cache in (False, True):
        trainer = trained_with(iterations_per_epoch=3, cache_teacher=cache)
        config = tiny_config(tmp_path / str(cache), **options, **trainer)
        results.append(weights(run(config, progress=False)))
    assert distance(*results) < 1e-4
    assert not list(tmp_path.rglob("*.embeddings"))


def test_random_transform_is_found_before_anything_is_learned(tiny_config, tmp_path):
    random = {"transforms": {"train": [{"RandomRotation": {"degrees": 5}}]}}
    config = tiny_config(tmp_path, **random, **trained_with(cache_teacher=True))
    with pytest.raises(ValueError, match=r"cache_teacher needs images.*RandomRotation.* is random"):
        run(config, progress=False)
    assert not list(tmp_path.rglob("*.json"))


def test_teacher_that_moves_cannot_be_cached(tiny_config, tmp_path):
    cached = trained_with(cache_teacher=True)
    config = tiny_config(tmp_path, strategies=["l2+ema-teacher"], **cached)
    with pytest.raises(ConfigError, match=r"ema-teacher changes the teacher, so its embeddings"):
        run(config, progress=False)
