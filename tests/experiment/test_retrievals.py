from types import SimpleNamespace

import pytest

from pml_incremental.experiment.running.outputs import choose_queries


@pytest.mark.parametrize(
    ("sizes", "positions"),
    [
        ([6], [0, 1, 2, 3, 4, 5]),
        ([16], [0, 2, 4, 6, 8, 10, 12, 14]),
        ([2, 100], [0, 1, 2, 27, 52, 77]),
        ([10, 10, 10], [0, 5, 10, 15, 20, 25]),
        ([3] * 40, [0, 15, 33, 48, 66, 81, 99, 117]),  # of the tasks 0, 5, 11, 16, 22, 27, 33, 39
    ],
)
def test_queries_are_spread_over_tasks_and_never_repeated(sizes, positions):
    assert choose_queries([SimpleNamespace(test=range(size)) for size in sizes]) == positions
