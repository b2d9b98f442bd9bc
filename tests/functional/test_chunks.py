import pytest
import torch

from pml_incremental.functional import correlation_distillation
from pml_incremental.functional.chunked_divergence import DEFAULT_MAX_BYTES, rows_at_a_time

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_none_where_all_fits():
    assert rows_at_a_time(10, 1, torch.float32, CPU, None) is None
    assert rows_at_a_time(10, 1, torch.float32, CPU, 8 * 10 * 10 * 4) is None
    assert rows_at_a_time(10, 1, torch.float32, CPU, 8 * 10 * 10 * 4 - 1) == 9


def test_default_limit():
    arguments = (torch.float32, CPU, DEFAULT_MAX_BYTES)
    assert rows_at_a_time(2896, 1, *arguments) is None
    assert rows_at_a_time(2897, 1, *arguments) == 128
    assert rows_at_a_time(915, 10, *arguments) is None
    assert rows_at_a_time(916, 10, *arguments) == 128


@pytest.mark.parametrize("models", [1, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_stay_within_the_limit(models, dtype):
    for count in (3000, 20_000, 300_000):
        rows = rows_at_a_time(count, models, dtype, GPU, DEFAULT_MAX_BYTES)
        size = 8 * models * count * dtype.itemsize
        assert rows * size <= DEFAULT_MAX_BYTES < (rows + 1) * size


def test_at_least_one_row():
    assert rows_at_a_time(10**6, 20, torch.float64, CPU, 1) == 1


@pytest.mark.parametrize(
    ("max_bytes", "error", "message"),
    [
        (0, ValueError, "max_bytes must be at least 1, got 0"),
        (-5, ValueError, "max_bytes must be at least 1, got -5"),
        (1e9, TypeError, "max_bytes must be an integer or None, got 1000000000.0"),
        (True, TypeError, "max_bytes must be an integer or None, got True"),
    ],
)
def test_bad_limit(max_bytes, error, message):
    with pytest.raises(error, match=message):
        correlation_distillation(torch.eye(2), torch.eye(2), max_bytes=max_bytes)
