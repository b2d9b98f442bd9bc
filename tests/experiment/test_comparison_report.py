import io
from pathlib import Path

import pytest

from pml_incremental.experiment import Result
from pml_incremental.experiment.comparison.compare import Comparison, write_comparison
from pml_incremental.metrics import TaskMatrix
from pml_incremental.metrics.task_matrix import OWN


def test_tables_are_written_in_utf8_whatever_the_locale(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "text_encoding", lambda encoding, _=2: encoding or "ascii")
    with pytest.raises(UnicodeEncodeError):
        Path(tmp_path, "locale.txt").write_text("±")
    matrices = {OWN: TaskMatrix([[0.1, 0.2], [0.5, 0.2], [0.4, 0.6]])}
    results = {seed: Result(f"seed_{seed}", tmp_path, {"naïve": matrices}) for seed in (0, 1)}
    write_comparison(Comparison("demo", tmp_path, results))
    assert "naïve" in (tmp_path / "report/table.md").read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("*.part"))
