import json
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pml_incremental.storage import pack_state, unpack_state

SINGLE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
STATES = st.recursive(
    SINGLE,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text() | st.integers() | st.just("__kind__"), inner, max_size=3)
    ),
    max_leaves=8,
)


def there_and_back(state):
    plain, tensors = pack_state(state)
    return unpack_state(json.loads(json.dumps(plain)), tensors)


@settings(max_examples=100, deadline=None)
@given(STATES)
def test_plain_values_come_back(state):
    assert there_and_back(state) == state


def test_random_states_come_back():
    found = there_and_back({"python": random.getstate(), "numpy": np.random.get_state()})
    assert found["python"] == random.getstate()
    name, keys, *rest = np.random.get_state()
    assert (found["numpy"][1] == keys).all()
    assert found["numpy"][1].dtype == keys.dtype
    assert (found["numpy"][0], list(found["numpy"][2:])) == (name, rest)


def test_optimizers_come_back():
    weight = torch.nn.Parameter(torch.randn(3))
    optimizer = torch.optim.Adam([weight], lr=0.1, betas=(0.5, 0.9))
    weight.sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    found = there_and_back(state)
    assert found["param_groups"] == state["param_groups"]
    assert torch.equal(found["state"][0]["exp_avg"], state["state"][0]["exp_avg"])


def test_arrays_of_any_shape_and_numpy_scalars_come_back():
    state = [np.arange(6, dtype=np.int16).reshape(2, 3).T, np.float32(0.1), np.zeros((0, 2))]
    found = there_and_back(state)
    for before, after in zip(state, found, strict=True):
        assert np.array_equal(before, after)
        assert before.dtype == after.dtype


def test_what_cannot_be_held_is_named():
    with pytest.raises(TypeError, match="/scheduler/0 is a function, which a checkpoint cannot"):
        pack_state({"scheduler": [lambda: 1]})
