import pytest

from pml_incremental.config import ExperimentConfig


@pytest.fixture(scope="session")
def tiny_config():
    """A config of a run over three tiny tasks, in a folder, with changes."""

    def make(folder, tasks=3, **changes):
        scripts = ["armenian", "georgian", "arrows"][:tasks]
        values = {
            "name": "tiny",
            "output": str(folder),
            "threads": 1,
            "dataset": {
                "Glyphs": {"scripts": scripts, "max_classes_per_script": 8, "image_size": 16}
            },
            "scenario": {"ClassIncrementalScenario": {"class_groups": "natural"}},
            "models": {
                "trunk": {"SmallConvNet": {"width": 4}},
                "embedder": {"MLP": {"layer_sizes": [8]}},
            },
            "loss_funcs": {"metric_loss": {"TripletMarginLoss": {"margin": 0.1}}},
            "sampler": {"MPerClassSampler": {"m": 4}},
            "optimizers": {
                "trunk_optimizer": {"Adam": {"lr": 1e-3}},
                "embedder_optimizer": {"Adam": {"lr": 1e-3}},
            },
            "trainer": {"IncrementalMetricLoss": {"batch_size": 16, "iterations_per_epoch": 3}},
            "num_epochs": [2, 1],
        }
        return ExperimentConfig.model_validate({**values, **changes})

    return make


@pytest.fixture(scope="session")
def with_classifier():
    """The changes that give the tiny config a classifier."""
    return {
        "models": {
            "trunk": {"SmallConvNet": {"width": 4}},
            "embedder": {"MLP": {"layer_sizes": [8]}},
            "classifier": "GrowingClassifier",
        },
        "loss_funcs": {"metric_loss": "TripletMarginLoss", "classifier_loss": "CrossEntropyLoss"},
        "optimizers": {
            f"{name}_optimizer": {"Adam": {"lr": 1e-3}}
            for name in ("trunk", "embedder", "classifier")
        },
        "trainer": {
            "IncrementalTrainWithClassifier": {"batch_size": 16, "iterations_per_epoch": 3}
        },
    }
