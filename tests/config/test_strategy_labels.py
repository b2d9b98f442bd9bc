from __future__ import annotations

from typing import Any

import pytest

from pml_incremental.config import ObjectSpec
from pml_incremental.config.objects import spec_label


@pytest.mark.parametrize(
    ("spec", "label"),
    [
        ("fecd", "fecd"),
        ({"fecd": {"estimator": "MLPEstimator"}}, "fecd-estimator_MLPEstimator"),
        ({"fecd": {"estimator": {"MLPEstimator": {}}}}, "fecd-estimator.MLPEstimator"),
        (
            {"fecd": {"estimator": {"MLPEstimator": {"steps": 9}}, "passes": 2}},
            "fecd-estimator.MLPEstimator.steps_9-passes_2",
        ),
        ({"l2+ewc": {"l2": {}, "ewc": None}}, "l2+ewc"),
        (
            {"fecd+ewc": {"fecd": {"estimator": {"MLPEstimator": {}}}, "ewc": {"weight": 5}}},
            "fecd+ewc-ewc.weight_5-fecd.estimator.MLPEstimator",
        ),
    ],
)
def test_every_option_shows_in_the_name(spec: Any, label: str) -> None:
    assert spec_label(ObjectSpec.parse(spec)) == label
