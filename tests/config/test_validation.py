from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pml_incremental.config import ConfigError, available, load_config, resolve, validate
from pml_incremental.config.objects import find_trial_problem
from pml_incremental.signatures import signature_of

Write = Callable[..., Path]
LOSS = "loss_funcs.metric_loss"
TRIPLET = f"{LOSS}.TripletMarginLoss"
MINER = "mining_funcs.tuple_miner.MultiSimilarityMiner"
ADAM = "optimizers.trunk_optimizer.Adam"
TRAINER = "trainer.IncrementalMetricLoss"


def problems(path: Path, *overrides: str) -> tuple[str, ...]:
    config = load_config([path], overrides)
    with pytest.raises(ConfigError) as raised:
        validate(config)
    return raised.value.problems


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [f"{LOSS}=ArcFaceLoss"],  # num_classes and embedding_size are filled in
        [f"{LOSS}={{MultipleLosses: {{losses: [NCALoss, {{CircleLoss: {{m: 0.3}}}}]}}}}"],
        [f"{LOSS}={{CrossBatchMemory: {{loss: {{NTXentLoss: {{temperature: 0.1}}}}}}}}"],
        ["models.trunk={resnet18: {weights: DEFAULT, progress: false}}"],
        ["models.embedder={Linear: {out_features: 32}}"],
        ["dataset={ImageFolder: {root: data, on_bad_image: skip}}"],
        ["dataset={FGVCAircraft: {root: data, split: test, download: true}}"],
        ["dataset={CUB: {root: data, download: true}}"],
        ["models.trunk={resnet18: {weights_file: a.pth, weights_prefix: module.}}"],
        ["models.trunk={timm_trunk: {name: resnet18, in_chans: 1, weights_file: a.pth}}"],
        ["models.trunk={torchvision.models:resnet18: {weights_file: a.pth}}"],
        ["transforms.train=[ToTensor, {CaffeNormalize: {mean: [1, 2, 3]}}]"],
        ["transforms.train={RandomErasing: {value: random}, Normalize: {mean: [0.5], std: [0.5]}}"],
        ["transforms.eval=[{RandomApply: {transforms: [{Pad: {padding: 2}}]}}]"],
        ["optimizers.trunk_optimizer={SGD: {lr: 1, momentum: 0.9, nesterov: true}}"],
        ["lr_schedulers.trunk_scheduler_by_epoch={MultiStepLR: {milestones: [1, 2]}}"],
        ["sampler=", "mining_funcs="],
        ["trainer.IncrementalMetricLoss.freeze_trunk_batchnorm=with_teacher"],
        ["trainer.IncrementalMetricLoss.iterations_per_epoch=5"],
        ["trainer={IncrementalMetricLoss: {precision: bf16, accumulation_steps: 2}}"],
        ["tester.IncrementalTester.batch_size=64"],
        ["tester.IncrementalTester={memory_mb: 64, embeddings_folder: /tmp/e, index: HNSW32}"],
        ["tester.IncrementalTester={metrics: [recall_at_1, NMI, AMI], ks: [10]}"],
        ["strategies=[finetune, correlation, {correlation: {weight: 1e-2, temperature: 1}}]"],
        ["loss_weights.metric_loss=2", "grad_clip_norm=1", "device=cuda:0", "threads=1"],
        [
            "trainer={IncrementalTrainWithClassifier: {batch_size: 8}}",
            "models.classifier=GrowingClassifier",
            "loss_funcs.classifier_loss=CrossEntropyLoss",
            "optimizers.classifier_optimizer.Adam.lr=1e-3",
            "lr_schedulers.classifier_scheduler_by_iteration.StepLR.step_size=5",
        ],
    ],
    ids=str,
)
def test_valid(example: Path, overrides: list[str]) -> None:
    validate(load_config([example], overrides))


def check(path: Path, override: str, key: str, *said: str) -> None:
    """One problem, from the command line, at a key that is relative to the one overridden."""
    (line,) = problems(path, override)
    origin, place, message = line.split(": ", 2)
    assert "command line" in origin
    assert place == override.split("=")[0] + key
    assert all(text in message for text in said), message


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        ("dataset=Glyps", ".Glyps", "Glyphs"),
        ("models.trunk=resnet81", ".resnet81", "resnet18"),
        (f"{LOSS}={{TripletMargin: }}", ".TripletMargin", "TripletMarginLoss"),
        (f"{TRIPLET}.distance=CosineSimilarty", ".CosineSimilarty", "CosineSimilarity"),
        (
            "sampler=torch.utils.data:RandomSampler2",
            ".torch.utils.data:RandomSampler2",
            "RandomSampler",
        ),
        ("strategies=[finetun]", ".0.finetun", "finetune"),
    ],
)
def test_unknown_classes(example: Path, override: str, key: str, near: str) -> None:
    check(example, override, key, f"did you mean {near!r}?")


def test_where_few_classes_exist_they_are_named(example: Path) -> None:
    known = "known: IncrementalMetricLoss, IncrementalTrainWithClassifier"
    check(example, "trainer=MetricLossOnly", ".MetricLossOnly", known)


@pytest.mark.parametrize(
    ("override", "key", "near"),
    [
        (f"{TRIPLET}.magrin=1", "", "margin"),
        (f"{TRIPLET}.embedding_regulariser=LpRegularizer", "", "embedding_regularizer"),
        (f"{TRIPLET}.distance.CosineSimilarity.pwer=1", "", "power"),
        ("models.trunk={resnet18: {num_clases: 3}}", ".resnet18.num_clases", "num_classes"),
        (
            "models.trunk={BNInception: {weight_file: a}}",
            ".BNInception.weight_file",
            "weights_file",
        ),
        (f"{TRAINER}.batchsize=8", "", "batch_size"),
        ("strategies={correlation: {wait: 1}}", ".0.correlation.wait", "weight"),
    ],
)
def test_misspelt_arguments(example: Path, override: str, key: str, near: str) -> None:
    check(example, override, key, "has no argument", f"did you mean {near!r}?")


def test_arguments_that_a_class_sets_for_its_parent(example: Path) -> None:
    override = f"{LOSS}={{CircleLoss: {{mat_based_loss: true}}}}"
    check(example, override, ".CircleLoss.mat_based_loss", "has no argument", "known: ")


@pytest.mark.parametrize(
    ("override", "key", "missing"),
    [
        ("sampler=FixedSetOfTriplets", ".FixedSetOfTriplets", "num_triplets"),
        ("dataset=ImageFolder", ".ImageFolder", "root"),
        ("models.embedder=Linear", ".Linear", "out_features"),
        ("lr_schedulers.trunk_scheduler_by_epoch=StepLR", ".StepLR", "step_size"),
        (f"{LOSS}=CrossBatchMemory", ".CrossBatchMemory", "loss"),
    ],
)
def test_missing_arguments(example: Path, override: str, key: str, missing: str) -> None:
    check(example, override, key, f"has no {missing!r}; write {key[1:]}: {{{missing}: ...}}")


def test_a_class_named_again_keeps_its_arguments(example: Path) -> None:
    validate(load_config([example], ["sampler=MPerClassSampler", "models.embedder={MLP: {}}"]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (f"{TRIPLET}.margin='0.1'", "must be a number, got '0.1' (str)"),
        (f"{TRIPLET}.swap=1", "must be true or false, got 1 (int)"),
        (f"{MINER}.epsilon=true", "must be a number, got True (bool)"),
        ("models.trunk.SmallConvNet.width=1.5", "must be a whole number, got 1.5 (float)"),
        ("models.embedder.MLP.layer_sizes=64", "must be Sequence[int], got 64 (int)"),
        (f"{ADAM}.lr=fast", "got 'fast' (str)"),
        ("models.trunk.SmallConvNet.weights_file=3", "must be text, got 3 (int)"),
        ("models.trunk.SmallConvNet.weights_prefix=a.", "has no effect without a weights_file"),
        # these PML does not annotate
        (f"{TRAINER}.batch_size=many", "must be a whole number of at least 1, got 'many' (str)"),
        (f"{TRAINER}.precision=fp64", "must be Literal['fp32', 'bf16', 'fp16'], got 'fp64'"),
        (f"{TRAINER}.accumulation_steps=2.5", "must be a whole number, got 2.5"),
        (f"{TRAINER}.cache_folder=x", "is the task's folder; remove it here"),
        (f"{TRAINER}.dataloader_num_workers=-1", "must be a whole number of at least 0, got -1"),
        (f"{TRAINER}.freeze_trunk_batchnorm=1", "got 1 (int)"),
        ("sampler.MPerClassSampler.m=0", "must be a whole number of at least 1, got 0 (int)"),
        ("tester.IncrementalTester.normalize_embeddings=2", "must be true or false, got 2 (int)"),
        (f"{TRIPLET}.distance=3", "must be one distance, {ClassName: {argument: value}}, got 3"),
    ],
)
def test_wrong_types(example: Path, override: str, message: str) -> None:
    check(example, override, "", message)


def test_wrong_words_and_wrong_objects_in_lists(example: Path) -> None:
    override = "transforms.train={Resize: {size: 3, interpolation: BILINEA}}"
    check(example, override, ".0.Resize.interpolation", "must be one of NEAREST, NEAREST_EXACT,")
    override = f"{LOSS}={{MultipleLosses: {{losses: [NCALoss, 3]}}}}"
    check(example, override, ".MultipleLosses.losses.1", "must be one loss, {ClassName: ")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("dataset.Glyphs.transform=ToTensor", "is set by the key 'transforms' at the top"),
        ("scenario.ClassIncrementalScenario.dataset=x", "is set by the key 'dataset' at the top"),
        ("sampler.MPerClassSampler.labels=[1]", "is set by the task loop; remove it here"),
        (f"{ADAM}.params=[]", "is set by the task loop"),
        (f"{TRAINER}.loss_weights={{}}", "is set by the key 'loss_weights' at the top"),
        (f"{TRAINER}.data_device=cpu", "is set by the key 'device' at the top"),
        (f"{TRAINER}.gradient_clippers={{}}", "is set by the key 'grad_clip_norm' at the top"),
        (f"{TRAINER}.teacher=x", "is the model of the task before; remove it here"),
        (
            f"{TRAINER}.collate_fn=x",
            "cannot be set in a config; IncrementalMetricLoss takes: accumulation_steps, "
            "batch_size, cache_teacher, check_finite_every, dataloader_num_workers, ",
        ),
        ("tester.IncrementalTester.data_device=cpu", "is set by the key 'device' at the top"),
        ("tester.IncrementalTester.visualizer=x", "cannot be set in a config"),
    ],
)
def test_arguments_that_the_program_passes(example: Path, override: str, message: str) -> None:
    check(example, override, "", message)


SPARSE = "{SparseCentersRegularizer: {centers_per_class: 1}}"


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        (f"{ADAM}.lr=-1", "", "Invalid learning rate: -1"),
        (
            "mining_funcs.tuple_miner={AngularMiner: {distance: CosineSimilarity}}",
            ".AngularMiner",
            "AngularMiner requires the distance metric to be LpDistance",
        ),
        (
            f"{LOSS}={{CrossBatchMemory: {{loss: ArcFaceLoss}}}}",
            ".CrossBatchMemory",
            "CrossBatchMemory not supported for ArcFaceLoss",
        ),
        # of a bare assert, its line
        (
            f"{LOSS}={{ArcFaceLoss: {{weight_regularizer: {SPARSE}}}}}",
            ".ArcFaceLoss",
            "assert centers_per_class > 1 (AssertionError)",
        ),
        (
            "trainer={IncrementalMetricLoss: {accumulation_steps: 0}}",
            ".IncrementalMetricLoss",
            "accumulation_steps must be at least 1, got 0",
        ),
        (
            "trainer={IncrementalMetricLoss: {precision: fp16, check_finite_every: 5}}",
            ".IncrementalMetricLoss",
            "leave out check_finite_every, got 5",
        ),
        ("strategies={correlation: {weight: -1}}", ".0.correlation", "must be at least 0, got -1"),
        ("transforms.eval={RandomAffine: {degrees: -1}}", ".0.RandomAffine", "must be positive"),
    ],
)
def test_values_that_the_class_refuses(
    example: Path, override: str, key: str, message: str
) -> None:
    (line,) = problems(example, override)
    place = override.split("=")[0].removesuffix(".lr") + key
    assert f"{place}: cannot be built: " in line
    assert message in line


@pytest.mark.parametrize(
    ("override", "key", "message"),
    [
        ("loss_weights.metrc_loss=1", "", "did you mean 'metric_loss'?"),
        ("mining_funcs.tuple_minr=HDCMiner", "", "did you mean 'tuple_miner'?"),
        ("optimizers.trnk_optimizer=Adam", "", "did you mean 'trunk_optimizer'?"),
        ("optimizers.classifier_optimizer=Adam", "", "belongs to nothing"),
        (
            "lr_schedulers={trunk_scheduler_by_epoc: {StepLR: {step_size: 1}}}",
            ".trunk_scheduler_by_epoc",
            "did you mean 'trunk_scheduler_by_epoch'?",
        ),
        ("models.classifier=GrowingClassifier", "", "is not used by IncrementalMetricLoss"),
        ("loss_funcs.classifier_loss=CrossEntropyLoss", "", "is not used by IncrementalMetric"),
        (
            "tester.IncrementalTester.metrics=[r_precision]",
            "",
            "has no recall_at_1, but tables, pictures and",
        ),
        (
            "tester.IncrementalTester.ks=[2, 4]",
            "",
            "has no 1, but tables, pictures and choices need",
        ),
    ],
)
def test_keys_that_lead_nowhere(example: Path, override: str, key: str, message: str) -> None:
    check(example, override, key, message)


def test_losses_must_hold_a_metric_loss(example: Path, write: Write) -> None:
    text = example.read_text().replace("  metric_loss:", "  metric_los:")
    (line,) = problems(write(text))
    assert line.endswith("loss_funcs: has no metric_loss; add metric_loss: {ClassName: {...}}")


def test_a_classifying_trainer_needs_classifier_and_loss(example: Path) -> None:
    lines = problems(example, "trainer=IncrementalTrainWithClassifier")
    assert [line.split(": ", 1)[1] for line in lines] == [
        "loss_funcs: has no classifier_loss, which IncrementalTrainWithClassifier needs; add it",
        "models: has no classifier, which IncrementalTrainWithClassifier needs; add it",
    ]


def test_all_problems_at_once_each_with_its_file(example: Path, write: Write) -> None:
    second = write("sampler: {MPerClassSampler: {n: 1}}\nnum_epochs: 1", "second.yaml")
    config = load_config([example, second], [f"{LOSS}.TripletMarginLoss.margin=x"])
    with pytest.raises(ConfigError) as raised:
        validate(config)
    assert [line.split(": ")[:2] for line in raised.value.problems] == [
        ["command line", f"{LOSS}.TripletMarginLoss.margin"],
        [str(second), "sampler.MPerClassSampler.n"],
    ]


def test_own_classes_are_checked_like_others(
    example: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "validation_test_losses.py").write_text(
        "from pytorch_metric_learning.losses import TripletMarginLoss\n"
        "class MyLoss(TripletMarginLoss):\n"
        "    def __init__(self, power: int, **kwargs):\n"
        "        super().__init__(**kwargs)\n"
        "        if power < 0:\n"
        "            raise ValueError('power must be positive')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    mine = f"{LOSS}={{validation_test_losses:MyLoss: %s}}"
    allowed = "allow_imports=[validation_test_losses]"
    validate(load_config([example], [mine % "{power: 2, margin: 0.2}", allowed]))
    key = f"command line: {LOSS}.validation_test_losses:MyLoss"
    cases = {
        "{}": f"{key}: has no 'power'; write validation_test_losses:MyLoss: {{power: ...}}",
        "{power: 1.5}": f"{key}.power: must be a whole number, got 1.5 (float)",
        "{power: 1, margn: 1}": f"{key}.margn: validation_test_losses:MyLoss has no argument "
        "'margn'; did you mean 'margin'?",
        "{power: -1}": f"{key}: cannot be built: power must be positive",
    }
    for kwargs, line in cases.items():
        assert problems(example, mine % kwargs, allowed) == (line,)


def test_functions_that_take_anything_are_trusted(example: Path) -> None:
    pytest.importorskip("timm")
    made = "models.trunk={timm:create_model: {model_name: resnet18, features_only: false}}"
    validate(load_config([example], [made, "allow_imports=[timm]"]))


def test_configs_made_in_code_are_checked_too(example: Path) -> None:
    config = load_config([example]).model_copy(update={"loss_weights": {"x": 1.0}})
    with pytest.raises(ConfigError, match=r"loss_weights\.x: belongs to nothing"):
        validate(config)


def test_checking_draws_no_random_numbers(example: Path) -> None:
    config = load_config([example], [f"{LOSS}=ArcFaceLoss"])
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    validate(config)
    assert torch.rand(1) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("category", ["loss", "miner", "transform", "optimizer", "strategy"])
def test_what_can_be_built_without_arguments_passes_the_trial(category: str) -> None:
    offered = {"num_classes", "embedding_size", "params"}
    tried = [
        name
        for name in available(category)
        if offered.issuperset(signature_of(resolve(category, name)).required)
    ]
    refused = {name: find_trial_problem(category, name, {}) for name in tried}
    excuses = {name: message for name, message in refused.items() if message is not None}
    assert len(tried) > len(excuses)
    assert excuses.keys() <= {"SelfSupervisedLoss"}, excuses
