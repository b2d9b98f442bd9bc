import random

import numpy as np
import pytest
import torch

from pml_incremental.experiment import seed_everything


def draw():
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def test_same_seed_and_scope_draw_the_same():
    seed_everything(3, 2)
    first = draw()
    draw()
    seed_everything(3, 2)
    assert draw() == first


def test_other_seed_or_scope_draws_something_else():
    seed_everything(3, 2)
    first = draw()
    for other in ((3, 1), (2, 2), (3,), (3, 2, 0)):
        seed_everything(*other)
        assert all(a != b for a, b in zip(draw(), first, strict=True)), other
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        seed_everything(-1)
