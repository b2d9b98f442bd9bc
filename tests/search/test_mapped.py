import os
import subprocess
import sys

import pytest
import torch

from pml_incremental.search import ExactSearch
from pml_incremental.search.tensors import mapped_tensor

# 120 MB of embeddings are searched with a limit on the memory that is not a mapped file.
BOUNDED = """
import resource, sys
import torch
from pml_incremental.search import ExactSearch
from pml_incremental.search.tensors import mapped_tensor

folder, memory = sys.argv[1], int(sys.argv[2])
torch.randn(300, 300) @ torch.randn(300, 300)  # what libraries take for themselves
ExactSearch(torch.randn(99, 9), torch.zeros(99)).nearest(range(99), range(99), 2)
data = next(line for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (1024 * int(data.split()[1]) + 2**26, -1))
rows = mapped_tensor(folder, 60_000, 500, torch.float32)
for chunk in rows.split(4096):
    chunk.copy_(torch.randn(chunk.shape))
rows[59_999] = rows[7] + 1e-3
found = ExactSearch(rows, torch.zeros(60_000), memory).nearest(range(6, 9), range(60_000), 1)
print(found[1].item())
"""


def test_a_mapped_tensor_keeps_what_is_written_and_leaves_no_file(tmp_path):
    rows = mapped_tensor(tmp_path / "new", 5, 3, torch.float64)
    assert rows.sum() == 0
    rows[4] = 2.5
    assert rows.sum() == 7.5
    assert list((tmp_path / "new").iterdir()) == []
    if os.path.exists("/proc/self/maps"):
        with open("/proc/self/maps") as maps:
            assert str(tmp_path / "new") in maps.read()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot keep 60 bytes .*choose another folder"):
        mapped_tensor(tmp_path / "file", 5, 3, torch.float32)


def test_mapped_embeddings_are_searched_like_others(tmp_path):
    points, labels = torch.randn(300, 5), torch.arange(300) % 4
    rows = mapped_tensor(tmp_path, 300, 5, torch.float32)
    rows.copy_(points)
    for memory in (1000, 2**20):
        found = ExactSearch(rows, labels, memory).nearest(range(300), range(300), 7)
        assert torch.equal(found, ExactSearch(points, labels).nearest(range(300), range(300), 7))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_DATA is Linux's")
def test_memory_is_bounded_by_its_number(tmp_path):
    def search(memory):
        # Large blocks go back to the system at once, so that what is counted is in use.
        env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "500000"}
        command = [sys.executable, "-c", BOUNDED, str(tmp_path), str(memory)]
        return subprocess.run(command, capture_output=True, text=True, env=env)

    little = search(2**24)
    assert little.returncode == 0, little.stderr
    assert little.stdout.strip() == "59999"
    # The check can fail: with leave to keep a copy of all rows, the search runs into the limit.
    assert "can't allocate memory" in search(2**29).stderr
