import errno
import os

import pytest

from pml_incremental.storage import (
    DamagedFileError,
    FolderLock,
    InUseError,
    StorageError,
    read_checked_json,
    remove_leftovers,
    write_checked_json,
    write_text_whole,
    write_whole,
)
from pml_incremental.storage.whole_file import host


def full(path):
    path.write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_failure_keeps_what_was_there(tmp_path):
    target = tmp_path / "x.txt"
    write_text_whole(target, "before")
    with pytest.raises(StorageError, match=r"cannot write .*x\.txt: No space left .*make room"):
        write_whole(target, full)
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["x.txt"]
    with pytest.raises(StorageError, match=r"cannot write .*txt/x"):
        write_text_whole(target / "x", "text")


def test_a_folder_that_another_process_wrote_first_stays(tmp_path):
    def write(part):
        part.mkdir()
        (part / "x").touch()
        (tmp_path / "f").mkdir()  # the other process, meanwhile
        (tmp_path / "f/y").touch()

    with pytest.raises(StorageError, match="another process has written it meanwhile; choose"):
        write_whole(tmp_path / "f", write)
    assert [path.name for path in (tmp_path / "f").iterdir()] == ["y"]


def test_only_leftovers_of_dead_processes_of_this_machine_are_removed(tmp_path):
    dead = 2**22 + 1  # above the largest process id
    names = [f"a.{host()}.{dead}.part", f"b.{host()}.{os.getpid()}.part"]
    names += [f"c.elsewhere.{dead}.part", "mine.part"]
    (tmp_path / "inner").mkdir()
    for name in names:
        (tmp_path / "inner" / name).write_text("")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in (tmp_path / "inner").iterdir()) == names[1:]


def test_json_notices_damage(tmp_path):
    path = tmp_path / "x.json"
    values = {"recall": 0.1 + 0.2, "none": None, "é": [1, 2]}
    write_checked_json(path, values)
    assert read_checked_json(path, "") == values
    content, outcomes = path.read_bytes(), set()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            found = read_checked_json(path, "delete it")
        except DamagedFileError as error:
            outcomes.add(str(path) in str(error) and "delete it" in str(error))
        else:
            outcomes.add(found == values)
    assert outcomes == {True}
    for keep in range(len(content) - 1):
        path.write_bytes(content[:keep])
        with pytest.raises(DamagedFileError):
            read_checked_json(path, "")
    path.write_text('{"own/recall_at_1": {"task_1": 0.5}}')  # of earlier versions
    assert read_checked_json(path, "") == {"own/recall_at_1": {"task_1": 0.5}}


def test_lock_is_one_process_and_one_name(tmp_path):
    first = FolderLock(tmp_path / "locks/a.lock", "the run")
    with first, FolderLock(tmp_path / "locks/b.lock", "another"):
        with (
            pytest.raises(InUseError, match=rf"the run is in use by process {os.getpid()} on "),
            FolderLock(tmp_path / "locks/a.lock", "the run"),
        ):
            pass
        assert first.owner_file.exists()
    with FolderLock(tmp_path / "locks/a.lock", "the run"):
        pass


def test_what_a_dead_process_says_in_its_lock_is_not_believed(tmp_path):
    lock = FolderLock(tmp_path / "a.lock", "the run")
    lock.owner_file.write_text('{"pid": 4194305, "host": "x", "since": "2000"}')
    with lock:
        assert f'"pid": {os.getpid()}' in lock.owner_file.read_text()
    for nonsense in ("", "[]", '{"pid": "x"}', "{" * 5000):
        lock.owner_file.write_text(nonsense)
        with lock:
            pass
