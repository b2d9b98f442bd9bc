"""Two gloo processes tell, learn and find what one process does."""

from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from pml_incremental.distributed import Processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def work():
    """The module that the processes run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        import in_processes

        yield in_processes


@pytest.fixture(scope="module")
def two(work, tmp_path_factory):
    """What both processes found."""
    folder = tmp_path_factory.mktemp("gloo")
    multiprocessing.spawn(work.in_group, (2, str(folder), work.everything), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def same(actual, expected):
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_gathered_rows_have_the_loss_and_gradient_of_one_process(work, two):
    loss, gradient = work.gathered(Processes())
    for found in two:
        assert found["gathered"][0].item() == pytest.approx(loss.item())
    torch.testing.assert_close(torch.cat([found["gathered"][1] for found in two]), gradient)


@pytest.mark.parametrize("shape", ["rows", "maps"])
def test_batchnorm_is_that_of_the_whole_batch(work, two, shape):
    expected = work.normalised(Processes(), work.SHAPES[shape])
    found = [result["batchnorm"][shape] for result in two]
    for name in ("output", "input", "evaluated"):
        same(torch.cat([result[name] for result in found]), expected[name])
    for result in found:
        same(result["weights"], expected["weights"])
        same(dict(result["statistics"]), dict(expected["statistics"]))


def test_first_process_speaks_for_all(two):
    failures, nested, mine, largest, told = zip(*(found["told"] for found in two), strict=True)
    assert failures == (
        "ValueError: no such folder",
        "FirstProcessError: the first process failed with ValueError: no such folder",
    )
    assert nested == ([0, "inner"],) * 2
    assert mine == ({1, 2, 3}, 3)
    assert (largest, told) == ((7, 7), ("x", "x"))


def test_parts_of_a_batch_are_a_batch_of_some_images_of_each_class(two):
    first, second = (found["batches"] for found in two)
    assert len(first) == len(second) == 6
    for batch in (a + b for a, b in zip(first, second, strict=True)):
        assert torch.bincount(torch.tensor(batch) % 4).tolist() == [2, 2, 2, 2]
    assert first[:3] != first[3:]


def test_embedding_in_parts_finds_what_one_process_does(work, two):
    recall, joint, embeddings = work.embedded(Processes())
    for found in two:
        assert found["embedded"][0] == recall
        torch.testing.assert_close(found["embedded"][1], joint, equal_nan=True)
    own, others = (found["embedded"][2] for found in two)
    assert others == {}
    for split, expected in embeddings.items():
        assert torch.equal(own[split], expected)


def test_losses_gradients_and_weights_are_those_of_one_process(work, two):
    expected = work.learned(Processes())
    assert {"mas_loss", "correlation_loss", "total_loss"} <= expected["losses"].keys()
    for found in two:
        for part in ("losses", "gradients", "weights"):
            assert found["learned"][part].keys() == expected[part].keys()
            same(found["learned"][part], expected[part])
    for name, weight in two[0]["learned"]["weights"].items():
        assert torch.equal(weight, two[1]["learned"]["weights"][name]), name


def test_models_draw_for_themselves_and_everything_else_together(two):
    (drawn, after), (drawn_by_other, after_other) = (found["own streams"] for found in two)
    assert torch.equal(after, after_other)
    every = torch.cat([drawn, drawn_by_other])
    assert len(every.unique(dim=0)) == len(every)


def test_what_each_has_of_its_own_becomes_the_first_ones(two):
    first, second = (found["copied"] for found in two)
    assert int(first["num_batches_tracked"]) == 1
    torch.testing.assert_close(dict(first), dict(second), atol=0, rtol=0)
    torch.manual_seed(0)
    assert torch.equal(first["running_mean"], 0.1 * torch.randn(4, 3).mean(dim=0))


def test_models_observed_in_shares_give_the_batches_of_one_process(work, two):
    expected, alone, _ = work.observed(Processes())
    assert alone == [4, 4, 3]
    for rows, embedded, _ in (found["observed"] for found in two):
        same(rows, expected)
        assert embedded == [2, 2, 2]
    assert torch.equal(*(found["observed"][2] for found in two))  # their streams stay together
