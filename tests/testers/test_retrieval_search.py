import math
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.extras import MissingExtraError
from pml_incremental.testers import IncrementalTester, RecallCalculator


def tasks(step=2**40):
    generator = torch.Generator().manual_seed(0)
    return {
        f"task_{j}": TensorDataset(
            torch.randn(size, 4, generator=generator), step * j + torch.arange(size) % 5
        )
        for j, size in enumerate((30, 25, 28), start=1)
    }


def new_tester(**options):
    return IncrementalTester(dataloader_num_workers=0, **options)


def test_values_are_those_of_one_search_per_split_and_gallery():
    datasets = tasks(step=10)
    for seen in (["task_1"], ["task_3", "task_1"], None):
        ours = new_tester().evaluate(datasets, nn.Identity(), seen=seen)
        calculator = new_tester(accuracy_calculator=RecallCalculator())
        theirs = calculator.evaluate(datasets, nn.Identity(), seen=seen)
        for metric, values in theirs.own.items():
            assert ours.own[metric] == pytest.approx(values)
            assert ours.joint[metric] == pytest.approx(theirs.joint[metric], nan_ok=True)
        assert ours.excluded_queries == theirs.excluded_queries


def test_labels_of_any_size_are_told_apart():
    found = new_tester().evaluate(tasks(), nn.Identity())
    assert found.own == new_tester().evaluate(tasks(step=10), nn.Identity()).own


def test_per_class_and_per_query_values_average_to_the_metric():
    datasets = tasks()
    datasets["task_2"].tensors[1][0] = 7  # one image alone in its class
    found = new_tester().evaluate(datasets, nn.Identity())
    for gallery in ("own", "joint"):
        for split, data in datasets.items():
            values = found.per_query("recall_at_1", gallery, split)
            assert len(values) == len(data)
            mean = getattr(found, gallery)["recall_at_1"][split]
            assert float(values.nanmean()) == pytest.approx(mean)
            classes = found.per_class("recall_at_1", gallery, split)
            sizes = {label: int((data.tensors[1] == label).sum()) for label in classes}
            counted = {label: value for label, value in classes.items() if not math.isnan(value)}
            weighted = sum(sizes[label] * value for label, value in counted.items())
            assert weighted / sum(sizes[label] for label in counted) == pytest.approx(mean)
    assert math.isnan(found.per_class("recall_at_1", "own", "task_2")[7])
    unseen = new_tester().evaluate(datasets, nn.Identity(), seen=[])
    with pytest.raises(KeyError):
        unseen.per_query("recall_at_1", "joint", "task_1")


def test_metrics_of_ones_choice(monkeypatch):
    names = ("recall_at_3", "precision_at_5", "r_precision", "mean_reciprocal_rank", "NMI", "AMI")
    found = new_tester(metrics=names).evaluate(tasks(), nn.Identity())
    assert tuple(found.own) == tuple(found.joint) == names
    values = [v for g in (found.own, found.joint) for m in g.values() for v in m.values()]
    assert max(values) <= 1
    assert min(found.own["precision_at_5"].values()) > 0
    with pytest.raises(ValueError, match="no retrieval metric 'recall_at_0'; there are "):
        new_tester(metrics=["recall_at_0"])
    with pytest.raises(ValueError, match="memory_mb must be at least 1"):
        new_tester(memory_mb=0)
    with pytest.raises(ValueError, match="nprobe is for an index"):
        new_tester(nprobe=3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtraError, match="for NMI and AMI, needs faiss"):
        new_tester(metrics=["recall_at_1", "AMI"])


def test_clusters_of_classes_that_lie_apart_are_found():
    labels = torch.arange(60) % 3
    generator = torch.Generator().manual_seed(0)
    points = torch.eye(3)[labels] + 0.01 * torch.randn(60, 3, generator=generator)
    data = {"a": TensorDataset(points, labels), "b": TensorDataset(points, labels)}
    found = new_tester(metrics=["NMI"]).evaluate(data, nn.Identity())
    assert found.own["NMI"]["a"] == pytest.approx(1)
    assert found.joint["NMI"]["b"] == pytest.approx(1)


def test_an_index_is_searched_and_its_recall_told():
    pytest.importorskip("faiss")
    names = ["recall_at_1", "mean_average_precision_at_r"]
    seen = {"seen": ["task_1", "task_2"]}
    exact = new_tester(metrics=names).evaluate(tasks(), nn.Identity(), **seen)
    options = {"metrics": names, "index": "IVF4,Flat"}
    full = new_tester(nprobe=4, **options).evaluate(tasks(), nn.Identity(), **seen)
    assert full.own == exact.own
    assert full.joint["recall_at_1"]["task_2"] == exact.joint["recall_at_1"]["task_2"]
    assert full.recall_of_index == exact.recall_of_index == 1
    coarse = new_tester(**options).evaluate(tasks(), nn.Identity())
    assert 0 < coarse.recall_of_index < 1
    with pytest.raises(ValueError, match="leave out mean_average_precision"):
        new_tester(index="Flat").evaluate(tasks(), nn.Identity())


def test_reference_splits_without_the_query_are_all_searched():
    datasets = tasks(step=0)
    asked = [("task_1", ["task_2", "task_3"])]
    found = new_tester().test(datasets, 1, nn.Identity(), splits_to_eval=asked)["task_1"]
    x, y = nn.functional.normalize(datasets["task_1"].tensors[0]), datasets["task_1"].tensors[1]
    others = [datasets[s].tensors for s in ("task_2", "task_3")]
    gallery = nn.functional.normalize(torch.cat([o[0] for o in others]))
    labels = torch.cat([o[1] for o in others])
    nearest = torch.cdist(x.double(), gallery.double()).argmin(dim=1)
    assert found["recall_at_1_level0"] == pytest.approx(np.mean((labels[nearest] == y).tolist()))


def test_images_with_embeddings_that_are_not_finite_are_named():
    class Named(TensorDataset):
        def image_name(self, index):
            return f"folder/{index}.png"

    points = torch.randn(9, 2)
    points[[3, 5]] = math.inf
    with pytest.raises(ValueError, match=r"\(rows 3, 5\).*: folder/3\.png, folder/5\.png"):
        new_tester().evaluate({"a": Named(points, torch.zeros(9))}, nn.Identity())


def test_embeddings_in_files_give_the_same_values(tmp_path):
    ours = new_tester(embeddings_folder=str(tmp_path), memory_mb=1, batch_size=7)
    found, expected = (t.evaluate(tasks(), nn.Identity()) for t in (ours, new_tester()))
    assert found.own == expected.own
    assert found.joint == expected.joint
    for split, embeddings in expected.embeddings.items():
        assert torch.equal(found.embeddings[split], embeddings)
    if sys.platform.startswith("linux"):
        with open("/proc/self/maps") as maps:
            assert maps.read().count(str(tmp_path)) >= len(tasks())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="pca needs all embeddings in memory"):
        new_tester(pca=2, embeddings_folder=str(tmp_path))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("index", [None, "IVF4,Flat"])
def test_a_gpu_gives_the_values_of_the_cpu(index):
    names = ["recall_at_1", "recall_at_4", "mean_average_precision_at_r"]
    options = {"metrics": names, "index": index, "nprobe": None if index is None else 4}
    cpu = new_tester(data_device=torch.device("cpu"), **options).evaluate(tasks(), nn.Identity())
    gpu = new_tester(data_device=torch.device("cuda"), **options).evaluate(tasks(), nn.Identity())
    assert (gpu.own, gpu.joint) == (cpu.own, cpu.joint)
