"""Compiled trunks keep the names of their weights."""

import copy

import pytest
import torch
from torch import nn

from pml_incremental.models import SmallConvNet, check_compiler, compiled
from pml_incremental.trainers import Teacher

IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def forgotten():
    """What was compiled before is compiled again."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


class Backend:
    """Compiles nothing, and counts what it is asked to compile and what runs of it."""

    def __init__(self):
        self.compiled = self.ran = 0

    def __call__(self, graph, inputs):
        self.compiled += 1

        def call(*arguments):
            self.ran += 1
            return graph.forward(*arguments)

        return call


def test_names_copies_and_results_stay():
    torch.manual_seed(0)
    trunk, backend = SmallConvNet(width=4), Backend()
    names, parameters = list(trunk.state_dict()), [name for name, _ in trunk.named_parameters()]
    before = trunk.eval()(IMAGES)
    with compiled(trunk, backend=backend):
        assert torch.equal(trunk(IMAGES), before)
        assert (backend.compiled, backend.ran) == (1, 1)
        assert list(trunk.state_dict()) == names
        assert [name for name, _ in trunk.named_parameters()] == parameters
        copy.deepcopy(trunk)(IMAGES)
    trunk(IMAGES)
    assert backend.ran == 1  # neither by the copy nor after


def test_tasks_in_a_row_all_run_what_was_compiled():
    """Though each has a new teacher, and the compiler gives up on what changes too often."""
    trunk, backend = SmallConvNet(width=4), Backend()
    for _ in range(20):
        teacher = Teacher.snapshot({"trunk": trunk})
        trunk.train()
        with compiled(trunk, teacher.trunk, backend=backend):
            (trunk(IMAGES) - teacher.embed(IMAGES)).square().mean().backward()
    assert backend.ran == 40


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
