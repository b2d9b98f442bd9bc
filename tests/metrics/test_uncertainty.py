import math
import statistics

import numpy as np
import pytest

from pml_incremental.metrics import Spread, bootstrap_interval


def test_interval_of_a_share_is_near_that_of_the_normal_approximation():
    values = np.repeat([1.0, 0.0], [300, 100])
    low, high = bootstrap_interval([values])
    half = 1.96 * math.sqrt(0.75 * 0.25 / 400)
    assert (low, high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.01)


def test_groups_count_alike_whatever_their_size():
    low, high = bootstrap_interval([np.ones(1000), np.zeros(3)])
    assert low == high == 0.5


def test_more_queries_and_less_confidence_narrow_it():
    few, many = np.tile([0.0, 1.0], 20), np.tile([0.0, 1.0], 500)
    widths = [np.diff(bootstrap_interval([v]))[0] for v in (few, many)]
    assert widths[0] > 3 * widths[1]
    assert np.diff(bootstrap_interval([few], confidence=0.5))[0] < widths[0]


def test_values_that_are_missing_are_left_out():
    assert bootstrap_interval([[1.0, math.nan]]) == (1.0, 1.0)
    assert all(map(math.isnan, bootstrap_interval([[1.0], [math.nan]])))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="groups is empty"):
        bootstrap_interval([])
    with pytest.raises(ValueError, match="got 95 and 1000"):
        bootstrap_interval([[1.0]], confidence=95)


def test_mean_and_standard_deviation_are_those_of_a_sample():
    values = [0.25, 0.5, 0.125, 0.75]
    spread = Spread.of(iter(values))
    assert spread.mean == pytest.approx(statistics.mean(values))
    assert spread.std == pytest.approx(statistics.stdev(values))
    single = Spread.of([0.5])
    assert single.mean == 0.5
    assert math.isnan(single.std)
    assert math.isnan(Spread.of([0.5, math.nan]).mean)  # what is missing is not left out
    with pytest.raises(ValueError, match=r"^there are no measurements: give at least one$"):
        Spread.of([])
