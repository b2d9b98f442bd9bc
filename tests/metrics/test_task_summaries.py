import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pml_incremental.metrics import (
    average_incremental,
    backward_transfer,
    forgetting,
    forward_transfer,
    last,
    max_forgetting,
    seen_means,
)

NEED_TWO_TASKS = (forgetting, max_forgetting, backward_transfer, forward_transfer)
ALL = (*NEED_TWO_TASKS, average_incremental, last, seen_means)


def matrices(min_tasks=1):
    shapes = st.integers(min_tasks, 6).map(lambda tasks: (tasks + 1, tasks))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=st.floats(0, 1)))


# The formulas are written with tasks counted from 1: a[i][j] is a[i, j - 1].
def naive_average_incremental(a):
    tasks = a.shape[1]
    means = [sum(a[i, j - 1] for j in range(1, i + 1)) / i for i in range(1, tasks + 1)]
    return sum(means) / tasks


def naive_last(a):
    tasks = a.shape[1]
    return sum(a[tasks, j - 1] for j in range(1, tasks + 1)) / tasks


def naive_forgetting(a):
    tasks = a.shape[1]
    return sum(a[j, j - 1] - a[tasks, j - 1] for j in range(1, tasks)) / (tasks - 1)


def naive_max_forgetting(a):
    tasks = a.shape[1]
    drops = []
    for j in range(1, tasks):
        best = max(a[l, j - 1] for l in range(j, tasks))  # noqa: E741
        drops.append(best - a[tasks, j - 1])
    return sum(drops) / len(drops)


def naive_forward_transfer(a):
    tasks = a.shape[1]
    return sum(a[j - 1, j - 1] - a[0, j - 1] for j in range(2, tasks + 1)) / (tasks - 1)


@given(matrices())
def test_averages_equal_naive_loops(a):
    assert average_incremental(a) == pytest.approx(naive_average_incremental(a))
    assert last(a) == pytest.approx(naive_last(a))


@given(matrices(min_tasks=2))
def test_forgetting_and_transfer_equal_naive_loops(a):
    assert forgetting(a) == pytest.approx(naive_forgetting(a))
    assert max_forgetting(a) == pytest.approx(naive_max_forgetting(a))
    assert forward_transfer(a) == pytest.approx(naive_forward_transfer(a))


@given(matrices(min_tasks=2))
def test_forgetting_is_minus_backward_transfer_and_at_most_max_forgetting(a):
    assert forgetting(a) == -backward_transfer(a)
    assert max_forgetting(a) >= forgetting(a) - 1e-12


@given(matrices(min_tasks=3), st.randoms(use_true_random=False))
def test_how_forgetting_depends_on_the_order_of_the_models_in_between(a, random):
    a = np.broadcast_to(a[:, :1], a.shape).copy()  # all tasks fare alike
    best_first = np.concatenate([a[:1], -np.sort(-a[1:-1], axis=0), a[-1:]])
    between = list(range(1, len(a) - 1))
    random.shuffle(between)
    shuffled = a[[0, *between, len(a) - 1]]

    assert last(shuffled) == last(a)
    assert forgetting(shuffled) == pytest.approx(forgetting(a))
    assert max_forgetting(shuffled) >= max_forgetting(best_first) - 1e-12
    assert max_forgetting(best_first) == pytest.approx(forgetting(best_first))


@given(matrices(min_tasks=2), st.floats(0, 1))
def test_everything_is_linear_in_the_values(a, factor):
    for function in ALL:
        np.testing.assert_allclose(function(factor * a), factor * function(a), atol=1e-12)


@given(matrices())
def test_a_model_that_never_changes_neither_forgets_nor_transfers(a):
    constant = np.broadcast_to(a[:1], a.shape)
    for function in NEED_TWO_TASKS:
        value = function(constant)
        assert math.isnan(value) if a.shape[1] == 1 else value == 0
    assert average_incremental(constant) >= 0
    assert math.copysign(1, backward_transfer([[0.5] * 2] * 3)) == 1  # zero and not minus zero
    assert all(math.isnan(function([[0.1], [0.9]])) for function in NEED_TWO_TASKS)


def test_what_needs_a_missing_value_is_nan_and_the_rest_is_not():
    nan = math.nan
    joint = [[nan, nan], [0.75, nan], [0.5, 0.75]]
    assert seen_means(joint).tolist() == [0.75, 0.625]
    assert forgetting(joint) == max_forgetting(joint) == 0.25
    assert math.isnan(forward_transfer(joint))
    unfinished = [[0.1, 0.1], [0.75, 0.1], [nan, nan]]
    assert all(math.isnan(f(unfinished)) for f in (last, average_incremental, forgetting))


@pytest.mark.parametrize("function", ALL)
def test_wrong_values_are_refused(function):
    with pytest.raises(ValueError, match=r"shape \(T \+ 1, T\).*got \(2, 2\)"):
        function(np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"got 72.4 at \(1, 0\): divide percentages by 100"):
        function([[0.5], [72.4]])
    with pytest.raises(ValueError, match="inf"):
        function([[0.5], [math.inf]])
    with pytest.raises(ValueError, match=r"got -0\.1 at"):
        function([[0.5], [-0.1]])
