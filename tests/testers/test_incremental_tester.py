import math
from collections import Counter

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import TripletMarginLoss
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.trainers import MetricLossOnly
from pytorch_metric_learning.utils import logging_presets
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from pml_incremental.testers import IncrementalTester, RecallCalculator


class Rows(Dataset):
    """Labelled vectors that count how often each is read; items are (tensor, int)."""

    def __init__(self, points, labels):
        self.points, self.labels = torch.as_tensor(points, dtype=torch.float32), labels
        self.reads = Counter()

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        self.reads[index] += 1
        return self.points[index], int(self.labels[index])


def tasks(seed=0, sizes=(20, 14, 17)):
    """Three tasks with classes of their own, the last with one image alone in its class."""
    rng = np.random.default_rng(seed)
    made = {}
    for number, size in enumerate(sizes, start=1):
        labels = 10 * number + np.arange(size) % 4
        made[f"task_{number}"] = Rows(rng.normal(size=(size, 6)), labels)
    made["task_3"].labels[0] = 99
    return made


def new_tester(**kwargs):
    return IncrementalTester(dataloader_num_workers=0, batch_size=8, **kwargs)


def model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU()), nn.Linear(8, 4)


def naive_recall_at_1(embeddings, labels, query, gallery):
    hits, excluded = [], 0
    for q, (x, y) in enumerate(zip(embeddings[query], labels[query], strict=True)):
        others = [
            (float(((x - z) ** 2).sum()), bool(w == y))
            for split in gallery
            for g, (z, w) in enumerate(zip(embeddings[split], labels[split], strict=True))
            if (split, g) != (query, q)
        ]
        if any(same for _, same in others):
            hits.append(min(others)[1])
        else:
            excluded += 1
    return np.mean(hits), excluded


@torch.no_grad()
def naive_embeddings(datasets, trunk, embedder):
    trunk.eval(), embedder.eval()
    raw = {split: embedder(trunk(data.points)).double() for split, data in datasets.items()}
    found = {split: nn.functional.normalize(embeddings) for split, embeddings in raw.items()}
    return found, {split: data.labels for split, data in datasets.items()}


def test_evaluate_equals_naive_loops_in_both_galleries():
    datasets, (trunk, embedder) = tasks(), model()

    found = new_tester().evaluate(datasets, trunk, embedder)

    embeddings, labels = naive_embeddings(datasets, trunk, embedder)
    for split in datasets:
        own, excluded = naive_recall_at_1(embeddings, labels, split, [split])
        joint, _ = naive_recall_at_1(embeddings, labels, split, datasets)
        assert found.own["recall_at_1"][split] == pytest.approx(own)
        assert found.joint["recall_at_1"][split] == pytest.approx(joint)
        assert found.excluded_queries["own"][split] == excluded == int(split == "task_3")
        torch.testing.assert_close(found.embeddings[split].double(), embeddings[split])
        assert found.labels[split].tolist() == labels[split].tolist()
    names = {f"recall_at_{k}" for k in (1, 2, 4, 8)}
    names |= {"mean_average_precision", "mean_average_precision_at_r"}
    assert set(found.own) == set(found.joint) == names
    galleries = (found.own, found.joint)
    values = [v for g in galleries for by_split in g.values() for v in by_split.values()]
    assert all(type(value) is float and 0 <= value <= 1 for value in values)


def test_only_seen_splits_are_in_the_joint_gallery():
    datasets, (trunk, embedder) = tasks(), model()
    both = {name: datasets[name] for name in ("task_1", "task_2")}

    found = new_tester().evaluate(datasets, trunk, embedder, seen=["task_1", "task_2", "task_1"])

    expected = new_tester().evaluate(both, trunk, embedder)
    for metric, by_split in found.joint.items():
        assert math.isnan(by_split["task_3"])
        assert {name: by_split[name] for name in both} == expected.joint[metric]
    assert found.own["recall_at_1"]["task_3"] >= 0
    assert list(found.excluded_queries["joint"]) == ["task_1", "task_2"]
    found = new_tester().evaluate(datasets, trunk, embedder, seen=())  # before any task
    assert all(math.isnan(v) for v in found.joint["recall_at_1"].values())
    assert not any(math.isnan(v) for v in found.own["recall_at_1"].values())
    assert set(found.joint) == set(found.own)


def test_text_is_no_label():
    images = [(torch.zeros(3), name) for name in ("wren", "jay")]
    with pytest.raises(TypeError, match=r"labels must be whole numbers.*text such as 'wren'"):
        new_tester().get_all_embeddings(images, nn.Identity(), nn.Identity())


def test_test_gives_the_same_numbers_under_pmls_names_and_each_image_is_embedded_once():
    datasets, (trunk, embedder) = tasks(), model()
    evaluation = new_tester().evaluate(datasets, trunk, embedder)
    assert all(data.reads == Counter(range(len(data))) for data in datasets.values())
    found = new_tester().test(datasets, 7, trunk, embedder)
    twice = {split: Counter(2 * list(range(len(data)))) for split, data in datasets.items()}
    assert {split: data.reads for split, data in datasets.items()} == twice
    for split, accuracies in found.items():
        assert accuracies["epoch"] == 7
        for metric in evaluation.own:
            assert accuracies[f"{metric}_level0"] == evaluation.own[metric][split]
            assert accuracies[f"joint_{metric}_level0"] == evaluation.joint[metric][split]
        assert accuracies["excluded_queries_level0"] == int(split == "task_3")


def test_own_numbers_are_pmls():
    datasets, (trunk, embedder) = tasks(), model()
    options = {"dataloader_num_workers": 0, "accuracy_calculator": AccuracyCalculator()}
    pml = GlobalEmbeddingSpaceTester(**options).test(datasets, 1, trunk, embedder)

    ours = IncrementalTester(**options).test(datasets, 1, trunk, embedder)

    for split, accuracies in pml.items():
        same = {name: value for name, value in ours[split].items() if name in accuracies}
        assert same == pytest.approx(accuracies, nan_ok=True)


def test_reference_splits_asked_for_are_searched_and_the_lists_left_alone():
    datasets, (trunk, embedder) = tasks(), model()
    shared = ["task_1", "task_2"]
    asked = [("task_1", shared), ("task_2", shared)]
    found = new_tester().test(datasets, 1, trunk, embedder, splits_to_eval=asked)
    assert shared == ["task_1", "task_2"]
    expected = new_tester().evaluate(datasets, trunk, embedder, seen=shared)
    for split in shared:
        assert found[split]["recall_at_1_level0"] == expected.joint["recall_at_1"][split]
        assert found[split]["joint_recall_at_1_level0"] == expected.joint["recall_at_1"][split]


def test_several_label_levels_are_averaged_in_both_galleries():
    labels = torch.stack([torch.arange(12) % 3, torch.arange(12) % 2], dim=1)
    datasets = {"a": TensorDataset(torch.randn(12, 6), labels)}
    several = new_tester(label_hierarchy_level="all")
    found = several.test(datasets, 1, *model())["a"]
    levels = [found["joint_recall_at_1_level0"], found["joint_recall_at_1_level1"]]
    assert found["joint_AVERAGE_recall_at_1"] == pytest.approx(np.mean(levels))
    with pytest.raises(ValueError, match=r"one level of labels.*is 'all'"):
        several.evaluate(datasets, *model())
    second = new_tester(label_hierarchy_level=1).evaluate(datasets, *model())
    assert second.labels["a"].tolist() == labels[:, 1].tolist()


@pytest.mark.parametrize("way", ["evaluate", "test"])
def test_models_come_back_in_their_modes(way):
    trunk, embedder = model()
    trunk.train(), embedder.train()
    trunk[1].eval()  # frozen BatchNorm
    statistics = trunk[1].running_mean.clone()
    datasets = tasks()
    if way == "evaluate":
        new_tester().evaluate(datasets, trunk, embedder)
    else:
        new_tester().test(datasets, 1, trunk, embedder)
    assert trunk.training
    assert trunk[0].training
    assert embedder.training
    assert not trunk[1].training
    assert torch.equal(trunk[1].running_mean, statistics)
    with pytest.raises(RuntimeError):
        new_tester().evaluate({"a": Rows(torch.randn(4, 3), [0, 0, 1, 1])}, trunk, embedder)
    assert trunk.training  # after an error too


def test_defaults_no_embedder_and_progress(capsys):
    default = IncrementalTester()
    assert isinstance(default.accuracy_calculator, RecallCalculator)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    assert torch.device(default.data_device).type == device
    found = new_tester().evaluate(tasks(), nn.Identity())
    assert found.own == new_tester().evaluate(tasks(), nn.Identity(), nn.Identity()).own
    assert capsys.readouterr().err == ""
    new_tester(progress=True).evaluate(tasks(), *model())
    assert "embedding" in capsys.readouterr().err


def test_it_works_in_pmls_hooks(tmp_path):
    keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path / "csv"))
    hooks = logging_presets.get_hook_container(
        keeper, primary_metric="recall_at_1", validation_split_name="task_1"
    )
    datasets, (trunk, embedder) = tasks(), model()
    tester = new_tester(end_of_testing_hook=hooks.end_of_testing_hook)
    trainer = MetricLossOnly(
        models={"trunk": trunk, "embedder": embedder},
        optimizers={"trunk_optimizer": torch.optim.SGD(trunk.parameters(), lr=0.1)},
        batch_size=10,
        loss_funcs={"metric_loss": TripletMarginLoss()},
        dataset=datasets["task_1"],
        dataloader_num_workers=0,
        end_of_iteration_hook=hooks.end_of_iteration_hook,
        end_of_epoch_hook=hooks.end_of_epoch_hook(tester, datasets, str(tmp_path / "models")),
    )

    trainer.train(num_epochs=2)

    expected = new_tester().evaluate(datasets, trunk, embedder)
    table = hooks.record_group_name(tester, "task_2")
    first, second = keeper.query(f"SELECT * FROM {table}")
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert second["recall_at_1_level0"] == expected.own["recall_at_1"]["task_2"]
    assert second["joint_recall_at_4_level0"] == expected.joint["recall_at_4"]["task_2"]
    best, _ = hooks.get_best_epoch_and_accuracy(tester, "task_1")
    assert (tmp_path / "models" / f"trunk_best{best}.pth").exists()


def test_splits_that_cannot_be_evaluated_are_named():
    datasets, (trunk, embedder) = tasks(), model()
    with pytest.raises(ValueError, match="nothing to evaluate"):
        new_tester().evaluate({}, trunk, embedder)
    with pytest.raises(ValueError, match=r"seen has \['task_9'\], but the splits given are"):
        new_tester().evaluate(datasets, trunk, embedder, seen=["task_1", "task_9"])
    with pytest.raises(ValueError, match=r"splits_to_eval has \['task_9'\]"):
        new_tester().test(datasets, 1, trunk, embedder, splits_to_eval=[("task_9", ["task_9"])])
    datasets["task_2"] = Rows(torch.zeros(0, 6), [])
    with pytest.raises(ValueError, match="split 'task_2' is empty"):
        new_tester().evaluate(datasets, trunk, embedder, seen=["task_1"])
    datasets["task_2"] = tasks()["task_2"]
    datasets["task_2"].points[4] = math.nan
    with pytest.raises(ValueError, match=r"1 of 14 embeddings of split 'task_2' .*\(rows 4\)"):
        new_tester().evaluate(datasets, trunk, embedder)
