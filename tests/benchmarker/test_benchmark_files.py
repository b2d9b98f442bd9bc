"""Which config files the runner reads, and what it reads off the records."""

import math
import sqlite3
from contextlib import closing

import pytest

from pml_incremental.benchmarker.config_files import LOSSES, OURS, find_config
from pml_incremental.benchmarker.task_matrix import recorded


@pytest.fixture
def theirs(tmp_path):
    (tmp_path / "config_general").mkdir()
    for name in ("default", "fecd"):
        (tmp_path / "config_general" / f"{name}.yaml").touch()
    return tmp_path


def test_the_first_folder_wins(theirs):
    folders = [OURS, theirs]
    assert find_config("config_general", "fecd", folders).parent == OURS / "config_general"
    assert find_config("config_general", "default", folders).parent == theirs / "config_general"
    assert find_config("config_general", "fecd", [theirs, OURS]).parent.parent == theirs


def test_losses_are_shared_with_our_own_runner(theirs):
    found = find_config("config_loss_and_miners", "rkd", [OURS, theirs])
    assert found == LOSSES / "rkd.yaml"


def test_an_unknown_name_is_answered_with_the_known(theirs):
    with pytest.raises(ValueError, match=r"no 'fedc' for --config_general; .*: default, fecd,"):
        find_config("config_general", "fedc", [theirs, OURS])


def test_the_last_record_of_an_epoch_counts(tmp_path):
    records = tmp_path / "logs.db"
    with closing(sqlite3.connect(records)) as connection, connection:
        connection.execute("CREATE TABLE t (id integer primary key, epoch integer, recall real)")
        connection.executemany("INSERT INTO t (epoch, recall) VALUES (?, ?)", [(1, 0.5), (1, 0.75)])
    assert recorded(records, "t", "recall", 1) == 0.75
    assert math.isnan(recorded(records, "t", "recall", 2))
    assert math.isnan(recorded(records, "t", "precision", 1))
    assert math.isnan(recorded(records, "u", "recall", 1))
    assert math.isnan(recorded(tmp_path / "none.db", "t", "recall", 1))
    assert not (tmp_path / "none.db").exists()
