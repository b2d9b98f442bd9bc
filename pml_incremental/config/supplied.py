"""Arguments that the program passes itself, and where a config says such things instead."""

from __future__ import annotations

from typing import Any

from pydantic import NonNegativeInt, PositiveInt

# Passed to a class that takes them, unless the config sets them.
PASSED_IF_TAKEN: dict[str, frozenset[str]] = {
    "loss": frozenset({"num_classes", "embedding_size"}),
    "regularizer": frozenset({"num_classes"}),
    "model": frozenset({"in_features", "num_classes"}),
    "sampler": frozenset({"batch_size", "length_before_new_iter"}),
    "trainer": frozenset({"batch_size"}),
    "scenario": frozenset({"seed"}),
}
# Understood with every class of a category, and not passed to it.
UNDERSTOOD_BY_ALL: dict[str, dict[str, Any]] = {
    "model": {"weights_file": str, "weights_prefix": str}
}
_LOOP = "set by the task loop"
_BY_QUIET = "switched off by --quiet"
_BY_KEY = "set by the key {0!r} at the top of the config"

# Must not be in a config.
SET_ELSEWHERE: dict[str, dict[str, str]] = {
    "dataset": {
        "transform": _BY_KEY.format("transforms"),
        "transforms": _BY_KEY.format("transforms"),
        "progress": _BY_QUIET,
    },
    "scenario": {
        "dataset": _BY_KEY.format("dataset"),
        "train_transform": _BY_KEY.format("transforms.train"),
        "test_transform": _BY_KEY.format("transforms.eval"),
    },
    "sampler": {"labels": _LOOP},
    "optimizer": {"params": _LOOP},
    "lr_scheduler": {"optimizer": "set by the scheduler's own key"},
    "trainer": {
        **{
            key: _BY_KEY.format(key)
            for key in (
                "models",
                "optimizers",
                "loss_funcs",
                "loss_weights",
                "mining_funcs",
                "sampler",
                "lr_schedulers",
                "dataset",
            )
        },
        "gradient_clippers": _BY_KEY.format("grad_clip_norm"),
        "data_device": _BY_KEY.format("device"),
        "teacher": "the model of the task before",
        "cache_folder": "the task's folder",
        "compares": "set by the strategy",
        "probes": "set by the strategy",
        "turned": "set by the strategy",
        "penalties": "set by the strategy",
        "observers": "set by the strategy",
        "processes": "set by torchrun",
        "checkpointer": _BY_KEY.format("checkpoint"),
        "description": _LOOP,
        "progress": _BY_QUIET,
    },
    "tester": {"data_device": _BY_KEY.format("device"), "processes": "set by torchrun"},
    "record_writer": {"folder": _LOOP, "scope": _LOOP, "run": _LOOP},
}
# Types of arguments that PML does not annotate.
TYPES: dict[str, dict[str, Any]] = {
    "dataset": {"root": str},
    "sampler": {"m": PositiveInt, "num_triplets": PositiveInt},
    "trainer": {
        "batch_size": PositiveInt,
        "iterations_per_epoch": PositiveInt,
        "freeze_trunk_batchnorm": bool,
        "dataloader_num_workers": NonNegativeInt,
    },
    "tester": {
        "batch_size": PositiveInt,
        "dataloader_num_workers": NonNegativeInt,
        "normalize_embeddings": bool,
        "use_trunk_output": bool,
        "pca": PositiveInt,
    },
}
# Of these classes' own arguments, only those above mean something in a task loop.
PML_BASES = {
    "trainer": "pytorch_metric_learning.trainers:BaseTrainer",
    "tester": "pytorch_metric_learning.testers:BaseTester",
}
