import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pml_incremental import metrics
from pml_incremental.metrics import TaskMatrix

NAN = math.nan
shares = st.floats(0, 1) | st.just(NAN)


def test_rows_are_set_one_by_one_and_values_given_are_copied():
    matrix = TaskMatrix.empty(2)
    assert np.isnan(matrix.values).all()
    assert matrix.values.shape == (3, 2)
    matrix.set_row(0, [0.1, 0.2])
    matrix.set_row(2, np.array([0.5, NAN]))
    assert matrix == TaskMatrix([[0.1, 0.2], [NAN, NAN], [0.5, NAN]])
    assert matrix.values.dtype == np.float64
    assert matrix.row_names == ["before", "task 1", "task 2"]
    values = np.full((2, 1), 0.5)
    TaskMatrix(values).set_row(0, [0.25])
    assert values[0, 0] == 0.5


def test_summary_and_methods_agree_with_the_functions():
    matrix = TaskMatrix([[0.2, 0.1, 0.2], [0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.6, 0.7, 0.9]])
    summary = matrix.summary()
    names = "average_incremental last forgetting max_forgetting backward_transfer forward_transfer"
    assert list(summary) == names.split()
    for name, value in summary.items():
        assert getattr(matrix, name)() == value == getattr(metrics, name)(matrix.values)
        assert type(value) is float


def test_to_dict_is_plain_json():
    matrix = TaskMatrix([[NAN], [0.9]])
    loaded = json.loads(json.dumps(matrix.to_dict(), allow_nan=False))
    assert loaded["values"] == [[None], [0.9]]
    assert loaded["summary"]["last"] == 0.9
    assert loaded["summary"]["forgetting"] is None
    assert TaskMatrix(loaded["values"]) == matrix


@given(st.integers(1, 5).flatmap(lambda t: arrays(np.float64, (t + 1, t), elements=shares)))
def test_csv_gives_back_every_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "matrix.csv"
    TaskMatrix(values).to_csv(path)
    np.testing.assert_array_equal(TaskMatrix.from_csv(path).values, values)


def test_csv_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "matrix.csv"
    before = TaskMatrix([[0.5], [0.75]])
    before.to_csv(path)

    def fail(*_):
        raise OSError("no space left")

    with monkeypatch.context() as full:
        full.setattr("os.replace", fail)
        with pytest.raises(OSError, match="no space left"):
            TaskMatrix([[0.1], [0.2]]).to_csv(path)
    assert TaskMatrix.from_csv(path) == before


def test_csv_is_readable(tmp_path):
    path = tmp_path / "matrix.csv"
    TaskMatrix([[NAN, 0.25], [0.9, 0.5], [0.5, 1]]).to_csv(path)
    lines = path.read_text().splitlines()
    assert lines == ["after,task 1,task 2", "before,,0.25", "task 1,0.9,0.5", "task 2,0.5,1.0"]


@pytest.mark.parametrize(
    "text", ["", "after,task 1\nbefore,0.1", "a,b\nc,x\nd,0.1", "a,b,c\nd,1\n"]
)
def test_another_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "other.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.csv is not the CSV file of a task matrix"):
        TaskMatrix.from_csv(path)


def test_wrong_rows_are_refused_and_change_nothing():
    matrix = TaskMatrix.empty(2)
    with pytest.raises(ValueError, match="between 0 and 2, got 3"):
        matrix.set_row(3, [0.1, 0.2])
    with pytest.raises(ValueError, match=r"row 1 needs 2 values.*got shape \(3,\)"):
        matrix.set_row(1, [0.1, 0.2, 0.3])
    with pytest.raises(ValueError, match=r"row 1 holds shares between 0 and 1, got 90\.0 at 1"):
        matrix.set_row(1, [0.1, 90])
    with pytest.raises(ValueError, match="shape"):
        TaskMatrix.empty(0)
    assert matrix == TaskMatrix.empty(2)
    assert TaskMatrix([[0.0], [1 + 1e-15]]).last() == pytest.approx(1)  # a mean that was rounded
