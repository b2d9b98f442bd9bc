"""Compiled trunks keep the names of their weights."""

import copy

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter

from pml_incremental.models import SmallConvNet, check_compiler, compiled
from pml_incremental.trainers import Teacher

IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def forgotten():
    """What was compiled before is compiled again."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def test_names_copies_and_results_stay():
    torch.manual_seed(0)
    trunk, counter = SmallConvNet(width=4), CompileCounter()
    names, before = list(trunk.state_dict()), trunk.eval()(IMAGES)
    with compiled(trunk, backend=counter):
        assert torch.equal(trunk(IMAGES), before)
        assert counter.frame_count == 1
        assert list(trunk.state_dict()) == names
        assert [name for name, _ in trunk.named_parameters()] == [
            name
            for name in names
            if not name.startswith("bn") and "running" not in name and "num_batches" not in name
        ]
        twin = copy.deepcopy(trunk)
        twin(IMAGES)
    assert trunk._compiled_call_impl is twin._compiled_call_impl is None
    assert torch.equal(trunk(IMAGES), before)


def test_tasks_in_a_row_do_not_use_up_the_compiler():
    """A new teacher for every task is not a new function for it."""
    trunk, counter = SmallConvNet(width=4), CompileCounter()
    for _ in range(20):
        teacher = Teacher.snapshot({"trunk": trunk})
        trunk.train()
        with compiled(trunk, teacher.trunk, backend=counter):
            (trunk(IMAGES) - teacher.embed(IMAGES)).square().mean().backward()
            assert counter.frame_count <= 40
    assert torch._dynamo.utils.counters["unimplemented"] == {}


def test_an_error_inside_leaves_the_modules_plain():
    layer = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="stop"), compiled(layer, backend="eager"):
        raise RuntimeError("stop")
    assert layer._compiled_call_impl is None


def test_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match="there is no no-such-compiler: install one"):
        check_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match=r"no g\+\+ or clang\+\+ or cl"):
        check_compiler()
