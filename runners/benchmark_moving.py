"""Moving a file of vectors by a map, against a plain matrix product over the same file."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from in_turn import keep
from own_process import in_own_process, measured

from pml_incremental.gallery import EmbeddingMap

ROWS, WIDTH = 10_000_000, 256
PART = 65_536


def make(folder: Path, rows: int) -> None:
    """Vectors, written part by part, and a map that is none of the simple ones."""
    draw = torch.Generator().manual_seed(0)
    with (folder / "old.npy").open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, WIDTH)}
        np.lib.format.write_array_header_2_0(file, header)
        for first in range(0, rows, PART):
            some = torch.randn(min(PART, rows - first), WIDTH, generator=draw)
            file.write(some.numpy().data)
    old = torch.randn(2000, WIDTH, generator=draw)
    turn = torch.randn(WIDTH, WIDTH, generator=draw)
    EmbeddingMap.fit(old, old @ turn).save(folder / "map.safetensors")


def plain(folder: Path) -> None:
    """The least that could be done: read, multiply, write."""
    weight = EmbeddingMap.load(folder / "map.safetensors").weight.numpy()
    rows = np.load(folder / "old.npy", mmap_mode="r")
    with (folder / "plain.npy").open("wb") as file:
        for first in range(0, len(rows), PART):
            file.write((rows[first : first + PART] @ weight.T).data)


def moved(folder: Path) -> None:
    found = EmbeddingMap.load(folder / "map.safetensors")
    found.apply_to_file(folder / "old.npy", folder / "moved.npy")


def benchmark_moving() -> None:
    with tempfile.TemporaryDirectory() as name:
        make(Path(name), ROWS)
        found = {kind: in_own_process(__file__, name, kind) for kind in ("plain", "moved")}
    seconds = {kind: spent["seconds"] for kind, spent in found.items()}
    ratio, peak = seconds["moved"] / seconds["plain"], found["moved"]["peak_gb"]
    title = f"moving {ROWS:,} x {WIDTH} vectors / a plain matrix product over the same file"
    print(f"{title}: {seconds['moved']:.0f} s / {seconds['plain']:.0f} s = {ratio:.2f} (bar <= 2)")
    print(f"peak memory of moving: {peak:.2f} GB (bar <= 2)", flush=True)
    keep(title, {"ratio": ratio, "peak_gb": peak, **seconds}, "<= 2")


if __name__ == "__main__":
    folder, kind = Path(sys.argv[1]), sys.argv[2]
    _, spent = measured(lambda: {"plain": plain, "moved": moved}[kind](folder))
    print(json.dumps(spent))
