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
TESTER = "tester.IncrementalTester"


def problems(path, *overrides):
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
        [f"{TRAINER}.freeze_trunk_batchnorm=with_teacher", f"{TRAINER}.iterations_per_epoch=5"],
        ["trainer={IncrementalMetricLoss: {precision: bf16, accumulation_steps: 2}}"],
        [f"{TESTER}={{memory_mb: 64, embeddings_folder: /tmp/e, index: HNSW32, batch_size: 64}}"],
        [f"{TESTER}={{metrics: [recall_at_1, NMI, AMI], ks: [10]}}"],
        ["sampler=MPerClassSampler", "models.embedder={MLP: {}}"],  # arguments are kept
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
def test_valid(example, overrides):
    validate(load_config([example], overrides))


def check(path, override, key, *said):
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
        ("sampler=torch.utils.data:Samplr", ".torch.utils.data:Samplr", "Sampler"),
        ("strategies=[finetun]", ".0.finetun", "finetune"),
    ],
)
def test_unknown_classes(example, override, key, near):
    check(example, override, key, f"did you mean {near!r}?")


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
def test_misspelt_arguments(example, override, key, near):
    check(example, override, key, "has no argument", f"did you mean {near!r}?")


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
def test_missing_arguments(example, override, key, missing):
    check(example, override, key, f"has no {missing!r}; write {key[1:]}: {{{missing}: ...}}")


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
        # arguments that the program passes
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
        # keys that lead nowhere
        ("loss_weights.metrc_loss=1", "did you mean 'metric_loss'?"),
        ("mining_funcs.tuple_minr=HDCMiner", "did you mean 'tuple_miner'?"),
        ("optimizers.trnk_optimizer=Adam", "did you mean 'trunk_optimizer'?"),
        ("optimizers.classifier_optimizer=Adam", "belongs to nothing"),
        ("lr_schedulers.trunk_scheduler_by_epok=LinearLR", "mean 'trunk_scheduler_by_epoch'?"),
        ("models.classifier=GrowingClassifier", "is not used by IncrementalMetricLoss"),
        ("loss_funcs.classifier_loss=CrossEntropyLoss", "is not used by IncrementalMetric"),
        (f"{TESTER}.metrics=[r_precision]", "has no recall_at_1, but tables, pictures and"),
        (f"{TESTER}.ks=[2, 4]", "has no 1, but tables, pictures and choices need"),
    ],
)
def test_wrong_values_and_misplaced_keys(example, override, message):
    check(example, override, "", message)


def test_wrong_words_objects_and_classes(example):
    override = "transforms.train={Resize: {size: 3, interpolation: BILINEA}}"
    check(example, override, ".0.Resize.interpolation", "must be one of NEAREST, NEAREST_EXACT,")
    override = f"{LOSS}={{MultipleLosses: {{losses: [NCALoss, 3]}}}}"
    check(example, override, ".MultipleLosses.losses.1", "must be one loss, {ClassName: ")
    override = f"{LOSS}={{CircleLoss: {{mat_based_loss: true}}}}"  # it is set for the parent
    check(example, override, ".CircleLoss.mat_based_loss", "has no argument", "known: ")
    known = "known: IncrementalMetricLoss, IncrementalTrainWithClassifier"
    check(example, "trainer=MetricLossOnly", ".MetricLossOnly", known)


SPARSE = "{SparseCentersRegularizer: {centers_per_class: 1}}"
ANGULAR = "{AngularMiner: {distance: CosineSimilarity}}"
REFUSED = [
    (ADAM, "{lr: -1}", "Invalid learning rate: -1"),
    ("mining_funcs.tuple_miner", ANGULAR, "requires the distance metric to be LpDistance"),
    (LOSS, "{CrossBatchMemory: {loss: ArcFaceLoss}}", "not supported for ArcFaceLoss"),
    # of a bare assert, its line
    (LOSS, f"{{ArcFaceLoss: {{weight_regularizer: {SPARSE}}}}}", "assert centers_per_class > 1"),
    (TRAINER, "{accumulation_steps: 0}", "accumulation_steps must be at least 1, got 0"),
    (TRAINER, "{precision: fp16, check_finite_every: 5}", "leave out check_finite_every, got 5"),
    ("strategies", "{correlation: {weight: -1}}", "must be at least 0, got -1"),
    ("strategies", "[{l2+ewc: {ewc: {weight: -1}}}]", "the weight of ewc_loss must be at"),
    ("strategies", "[l2+frozen]", "one part of the sum trains on a task"),
    ("transforms.eval", "{RandomAffine: {degrees: -1}}", "must be positive"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFUSED)
def test_values_that_the_class_refuses(example, key, value, message):
    (line,) = problems(example, f"{key}={value}")
    origin, place, said = line.split(": ", 2)
    assert "command line" in origin
    assert place.startswith(key)
    assert said.startswith("cannot be built: ")
    assert message in said


@pytest.mark.parametrize(
    ("strategies", "message"),
    [
        ("[correlaton+ewc]", "there is no strategy 'correlaton'; did you mean 'correlation'?"),
        ("[ewc+ewc]", "'ewc' is in ewc+ewc twice; remove one"),
        ("[{l2+ewc: {ewd: {weight: 1}}}]", "'ewd' is not part of l2+ewc; did you mean 'ewc'?"),
        ("[{l2+ewc: {ewc: {wieght: 1}}}]", "ewc has no argument 'wieght'; did you mean 'weight'?"),
        ("[{l2+ewc: {ewc: 3}}]", "the options of ewc must be a mapping, got 3"),
    ],
)
def test_what_is_wrong_with_a_sum_of_strategies_is_said(example, strategies, message):
    (line,) = problems(example, f"strategies={strategies}")
    assert message in line


def test_a_sum_of_strategies_takes_overrides(example):
    overrides = ["strategies=[correlation+ewc]", "strategies.correlation+ewc.ewc.weight=7"]
    config = load_config([example], overrides)
    validate(config)
    assert config.to_yaml_dict()["strategies"] == [{"correlation+ewc": {"ewc": {"weight": 7}}}]


def test_losses_must_hold_a_metric_loss(example, write):
    text = example.read_text().replace("  metric_loss:", "  metric_los:")
    (line,) = problems(write(text))
    assert line.endswith("loss_funcs: has no metric_loss; add metric_loss: {ClassName: {...}}")


def test_a_classifying_trainer_needs_classifier_and_loss(example):
    lines = problems(example, "trainer=IncrementalTrainWithClassifier")
    assert [line.split(": ", 1)[1] for line in lines] == [
        "loss_funcs: has no classifier_loss, which IncrementalTrainWithClassifier needs; add it",
        "models: has no classifier, which IncrementalTrainWithClassifier needs; add it",
    ]


def test_all_problems_at_once_each_with_its_file(example, write):
    second = write("sampler: {MPerClassSampler: {n: 1}}\nnum_epochs: 1", "second.yaml")
    config = load_config([example, second], [f"{LOSS}.TripletMarginLoss.margin=x"])
    with pytest.raises(ConfigError) as raised:
        validate(config)
    assert [line.split(": ")[:2] for line in raised.value.problems] == [
        ["command line", f"{LOSS}.TripletMarginLoss.margin"],
        [str(second), "sampler.MPerClassSampler.n"],
    ]


def test_own_classes_are_checked_like_others(example, tmp_path, monkeypatch):
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


def test_functions_that_take_anything_are_trusted(example):
    pytest.importorskip("timm")
    made = "models.trunk={timm:create_model: {model_name: resnet18, features_only: false}}"
    validate(load_config([example], [made, "allow_imports=[timm]"]))


def test_configs_made_in_code_are_checked_too(example):
    config = load_config([example]).model_copy(update={"loss_weights": {"x": 1.0}})
    with pytest.raises(ConfigError, match=r"loss_weights\.x: belongs to nothing"):
        validate(config)


def test_checking_draws_no_random_numbers(example):
    config = load_config([example], [f"{LOSS}=ArcFaceLoss"])
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    validate(config)
    assert torch.rand(1) == expected


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("category", ["loss", "miner", "transform", "optimizer", "strategy"])
def test_what_can_be_built_without_arguments_passes_the_trial(category):
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
