import math

import numpy as np
import pytest

from pml_incremental.metrics import summarise_cross_model


def test_summary_equals_loops_over_all_updates():
    rng = np.random.default_rng(0)
    c, r = rng.random((4, 4)), rng.random((4, 4))
    pairs = [(i, j) for i in range(4) for j in range(i)]
    found = summarise_cross_model(c, r)
    assert found.compatible_share == np.mean([c[i, j] > c[j, j] for i, j in pairs])
    assert found.mean_gain == pytest.approx(np.mean([c[i, j] - c[j, j] for i, j in pairs]))
    assert found.mean_reindexing_gain == pytest.approx(
        np.mean([r[i, j] - c[j, j] for i, j in pairs])
    )


def test_what_is_undefined_is_nan():
    assert math.isnan(summarise_cross_model([[0.5]], [[0.5]]).compatible_share)
    missing = [[0.5, 0], [math.nan, 0.5]]
    assert math.isnan(summarise_cross_model(missing, missing).mean_gain)


def test_what_is_no_matrix_of_shares_is_refused():
    with pytest.raises(ValueError, match=r"cross must have shape \(T, T\), got \(2, 1\)"):
        summarise_cross_model([[0.5], [0.5]], [[0.5]])
    with pytest.raises(ValueError, match="but reindexed"):
        summarise_cross_model([[0.5]], np.eye(2))
    with pytest.raises(ValueError, match="reindexed holds shares between 0 and 1, got 5"):
        summarise_cross_model([[0.5]], [[5.0]])
