import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from pml_incremental.metrics import open_set_auroc
from pml_incremental.testers import IncrementalTester
from pml_incremental.testers.deployment import open_set


def evaluate():
    generator = torch.Generator().manual_seed(0)
    splits = {
        f"task_{j}": TensorDataset(
            torch.randn(20, 3, generator=generator), 10 * j + torch.arange(20) % 4
        )
        for j in (1, 2, 3)
    }
    splits["task_1"].tensors[1][0] = 99  # alone in its class, so unknown though seen
    return IncrementalTester(dataloader_num_workers=0).evaluate(splits, nn.Identity())


def test_open_set_view_equals_plain_loops():
    evaluation = evaluate()
    found = open_set(evaluation.embeddings, evaluation.labels, ["task_1", "task_3"])
    x = {split: e.double().numpy() for split, e in evaluation.embeddings.items()}
    gallery = [(s, i) for s in ("task_1", "task_3") for i in range(20)]
    known, unknown = [], []
    for split in x:
        for q in range(20):
            others = [(s, i) for s, i in gallery if (s, i) != (split, q)]
            nearest = min(np.linalg.norm(x[split][q] - x[s][i]) for s, i in others)
            label = evaluation.labels[split][q]
            there = any(evaluation.labels[s][i] == label for s, i in others)
            (known if there else unknown).append(nearest)
    assert (found.known, found.unknown) == (len(known), len(unknown)) == (39, 21)
    assert found.auroc == pytest.approx(open_set_auroc(known, unknown))
    assert 0 <= found.fpr_at_95_tpr <= 1


def test_what_has_no_open_set_view_is_said():
    evaluation = evaluate()
    with pytest.raises(ValueError, match="the gallery is empty"):
        open_set(evaluation.embeddings, evaluation.labels, [])
    evaluation.labels["task_1"][0] = 11
    with pytest.raises(ValueError, match="no unknown queries"):
        open_set(evaluation.embeddings, evaluation.labels, list(evaluation.labels))
