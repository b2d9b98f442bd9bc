import sys
from pathlib import Path

import pytest

# For the modules here that are no tests.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def with_classifier():
    """The changes that give the tiny config a classifier."""
    names = ("trunk", "embedder", "classifier")
    sizes = {"batch_size": 16, "iterations_per_epoch": 3}
    return {
        "models": {
            "trunk": {"SmallConvNet": {"width": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
            "classifier": "GrowingClassifier",
        },
        "loss_funcs": {"metric_loss": "TripletMarginLoss", "classifier_loss": "CrossEntropyLoss"},
        "optimizers": {f"{name}_optimizer": {"Adam": {"lr": 1e-3}} for name in names},
        "trainer": {"IncrementalTrainWithClassifier": sizes},
    }
