import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pml_incremental.metrics import open_set_auroc, open_set_fpr, summarise_cross_model

distances = st.lists(st.integers(0, 8).map(lambda n: n / 4), min_size=1, max_size=30)


def test_summary_equals_loops_over_all_updates():
    rng = np.random.default_rng(0)
    c, r = rng.random((4, 4)), rng.random((4, 4))
    pairs = [(i, j) for i in range(4) for j in range(i)]
    found = summarise_cross_model(c, r)
    assert found.compatible_share == np.mean([c[i, j] > c[j, j] for i, j in pairs])
    assert found.mean_gain == pytest.approx(np.mean([c[i, j] - c[j, j] for i, j in pairs]))
    gains = [r[i, j] - c[j, j] for i, j in pairs]
    assert found.mean_reindexing_gain == pytest.approx(np.mean(gains))


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


@given(distances, distances)
def test_auroc_equals_loops_over_all_pairs_and_scikit_learn(known, unknown):
    wins = [(k < u) + 0.5 * (k == u) for k in known for u in unknown]
    assert open_set_auroc(known, unknown) == pytest.approx(np.mean(wins))
    flags = [0] * len(known) + [1] * len(unknown)
    assert open_set_auroc(known, unknown) == pytest.approx(roc_auc_score(flags, known + unknown))


@given(distances, distances, st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_fpr_equals_a_search_over_all_thresholds(known, unknown, tpr):
    enough = [t for t in known if np.mean(np.array(known) <= t) >= tpr - 1e-12]
    assert open_set_fpr(known, unknown, tpr) == np.mean(np.array(unknown) <= min(enough))


def test_nineteen_of_twenty_are_95_percent():
    known = [0.0] * 19 + [9.0]
    assert open_set_fpr(known, [1.0]) == 0


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="no unknown queries"):
        open_set_auroc([1.0], [])
    with pytest.raises(ValueError, match="no known queries"):
        open_set_fpr([], [1.0])
    with pytest.raises(ValueError, match="1 distances of known queries are NaN"):
        open_set_auroc([float("nan")], [1.0])
    with pytest.raises(ValueError, match="got 95"):
        open_set_fpr([1.0], [1.0], tpr=95)
