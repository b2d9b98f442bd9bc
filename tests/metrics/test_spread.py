import math
import statistics

import pytest

from pml_incremental.metrics import Spread


def test_mean_and_standard_deviation_are_those_of_a_sample():
    values = [0.25, 0.5, 0.125, 0.75]
    spread = Spread.of(iter(values))
    assert spread.mean == pytest.approx(statistics.mean(values))
    assert spread.std == pytest.approx(statistics.stdev(values))


def test_a_single_measurement_has_no_deviation():
    spread = Spread.of([0.5])
    assert spread.mean == 0.5
    assert math.isnan(spread.std)


def test_a_missing_measurement_is_not_left_out():
    assert math.isnan(Spread.of([0.5, math.nan]).mean)


def test_no_measurements_are_refused():
    with pytest.raises(ValueError, match=r"^there are no measurements: give at least one$"):
        Spread.of([])
