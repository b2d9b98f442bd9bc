import sys

import numpy as np
import pytest

from pml_incremental.config import ConfigError, ObjectSpec, load_config
from pml_incremental.experiment import tune
from pml_incremental.experiment.assembly import build_scenario
from pml_incremental.experiment.tuning.tune import Range, search_space, validation_scenario

L2 = ObjectSpec(class_name="l2")


@pytest.fixture(scope="module")
def config(tiny_config, tmp_path_factory):
    return tiny_config(tmp_path_factory.mktemp("tune"))


def trials_of(result):
    optuna = pytest.importorskip("optuna")
    storage = f"sqlite:///{result.file.parent / 'study.db'}"
    study = optuna.load_study(study_name="l2", storage=storage)
    return [(trial.params, trial.value) for trial in study.trials if trial.value is not None]


def test_validation_sees_training_images_of_the_first_two_tasks_alone(config):
    scenario = build_scenario(config)
    validation = validation_scenario(scenario, 0.3, seed=0)
    assert len(validation) == 2
    for task, original in zip(validation, scenario[:2], strict=True):
        assert task.class_names == original.class_names
        assert task.labels == original.labels
        splits = [set(task.train.indices), set(task.test.indices)]
        assert not splits[0] & splits[1]
        images = validation[0].train.dataset
        places = images._images.indices[sorted(splits[0] | splits[1])]
        assert set(places) <= set(original.train.indices)
        assert not set(places) & set(original.test.indices)
        assert np.isclose(len(splits[1]) / len(original.train), 0.3, atol=0.1)


def test_the_batch_is_one_that_the_images_left_can_fill(tiny_config, tmp_path, caplog):
    pytest.importorskip("optuna")
    tasks = list(build_scenario(tiny_config(tmp_path, tasks=2)))
    classes = min(len(task.classes) for task in tasks)
    per_class = min(len(task.train) for task in tasks) // classes  # all that there are
    size = classes * per_class
    trainer = {"IncrementalMetricLoss": {"batch_size": size, "iterations_per_epoch": 1}}
    sampler = {"MPerClassSampler": {"m": per_class, "length_before_new_iter": size}}
    config = tiny_config(tmp_path, tasks=2, trainer=trainer, sampler=sampler)
    found = tune(config, L2, trials=1, validation_fraction=0.5, progress=False)
    assert found.trials == 1
    assert "tuning with batches of" in caplog.text
    best = load_config([found.file])
    assert best.trainer.kwargs["batch_size"] == size
    assert best.name == f"{config.name}_tuned"


def test_validation_needs_two_tasks(tiny_config):
    with pytest.raises(ValueError, match="tuning needs two tasks"):
        validation_scenario(build_scenario(tiny_config("unused", tasks=1)), 0.3, seed=0)


@pytest.mark.parametrize(
    ("spec", "space"),
    [
        ("mas", {"weight": Range(0.1, 10)}),
        ({"correlation": {"weight": 2}}, {"weight": Range(0.2, 20), "temperature": Range(1, 16)}),
        ("l2+mas", {"l2.weight": Range(0.1, 10), "mas.weight": Range(0.1, 10)}),
        ({"merge": {"lose_at_most": 2}}, {"lose_at_most": Range(0.5, 8.0)}),
        ({"lora": {"alpha": 8}}, {"alpha": Range(2.0, 32.0)}),
    ],
)
def test_space_is_around_what_the_config_says(spec, space):
    assert search_space(ObjectSpec.parse(spec)) == space


def test_nothing_to_search_is_an_error():
    for spec, message in (
        ("finetune", "finetune has no weight, temperature, lose_at_most or alpha"),
        ({"l2": {"weight": 0}}, "l2: weight is 0: nothing can be searched"),
    ):
        with pytest.raises(ConfigError, match=message):
            search_space(ObjectSpec.parse(spec))


def test_search_writes_the_best_config_and_can_be_resumed(config, tmp_path):
    pytest.importorskip("optuna")
    whole = tune(config, L2, trials=3, progress=False)
    trials = trials_of(whole)
    assert len(trials) == whole.trials == 3
    assert len({params["weight"] for params, _ in trials}) == 3
    assert all(0.1 <= params["weight"] <= 10 for params, _ in trials)
    assert whole.value == max(value for _, value in trials)
    best = load_config([whole.file])
    assert best.strategies == (whole.spec,)
    assert best.name == "tiny_tuned"

    other = config.model_copy(update={"output": tmp_path})
    tune(other, L2, trials=1, progress=False)
    assert trials_of(tune(other, L2, trials=3, progress=False)) == trials
    assert not list(whole.file.parent.glob("l2-*/task_2"))


def test_killed_trial_is_proposed_again(config, tmp_path):
    optuna = pytest.importorskip("optuna")
    other = config.model_copy(update={"output": tmp_path})
    first = tune(other, L2, trials=1, progress=False)
    storage = f"sqlite:///{first.file.parent / 'study.db'}"
    optuna.load_study(study_name="l2", storage=storage).ask()  # never told
    resumed = trials_of(tune(other, L2, trials=2, progress=False))
    assert len(resumed) == 2
    assert resumed == trials_of(tune(config, L2, trials=2, progress=False))[:2]


def test_diverging_trial_counts_as_zero(tiny_config, tmp_path):
    pytest.importorskip("optuna")
    optimizers = {f"{name}_optimizer": {"SGD": {"lr": 1e-3}} for name in ("trunk", "embedder")}
    config = tiny_config(tmp_path, optimizers=optimizers, num_epochs=1)
    spec = ObjectSpec(class_name="mas", kwargs={"weight": 1e36})
    assert tune(config, spec, trials=1, progress=False).value == 0.0


def test_other_split_in_the_same_folder_is_refused(config):
    pytest.importorskip("optuna")
    tune(config, L2, trials=1, progress=False)
    with pytest.raises(ValueError, match=r"has a search with .*0\.3"):
        tune(config, L2, trials=1, validation_fraction=0.5, progress=False)


def test_missing_optuna_and_no_trials_are_named(config, monkeypatch):
    with pytest.raises(ValueError, match="trials must be at least 1, got 0"):
        tune(config, L2, trials=0)
    monkeypatch.setitem(sys.modules, "optuna", None)  # as if it were not installed
    with pytest.raises(ModuleNotFoundError, match=r"pml-incremental\[tune\]"):
        tune(config, L2, trials=1)
