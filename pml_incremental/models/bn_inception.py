"""BN-Inception, the trunk of the paper."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _Block(NamedTuple):
    """Widths of an inception block; without ``one`` and ``projection`` it halves the resolution."""

    three: tuple[int, int]  # 1x1, 3x3
    double: tuple[int, int]  # 1x1, 3x3 and again 3x3
    pool: Literal["mean", "max"]
    one: int = 0
    projection: int = 0


_BLOCKS = {
    "3a": _Block((64, 64), (64, 96), "mean", 64, 32),
    "3b": _Block((64, 96), (64, 96), "mean", 64, 64),
    "3c": _Block((128, 160), (64, 96), "max"),
    "4a": _Block((64, 96), (96, 128), "mean", 224, 128),
    "4b": _Block((96, 128), (96, 128), "mean", 192, 128),
    "4c": _Block((128, 160), (128, 160), "mean", 160, 128),
    "4d": _Block((128, 192), (160, 192), "mean", 96, 128),
    "4e": _Block((128, 192), (192, 256), "max"),
    "5a": _Block((192, 320), (160, 224), "mean", 352, 128),
    "5b": _Block((192, 320), (192, 224), "max", 352, 128),
}


class BNInception(nn.Module):
    """Inception with batch normalisation (Inception v2), without its classification layer.

    Weights are random. Layers are called as in the weights file that retrieval papers start from,
    ``bn_inception-52deb4733.pth``, which :func:`load_weights` reads. It was trained on images as
    :class:`~pml_incremental.transforms.CaffeNormalize` makes them.

    Source: Ioffe & Szegedy, ICML 2015.

    Returns:
        When called with images of shape (N, 3, H, W): features of shape (N, 1024), the mean over
        positions. H and W are best multiples of 32, such as 224.

    Raises:
        ValueError: when called, if H or W is one that cannot be halved often enough.

    Example:
        >>> BNInception().eval()(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 1024])
    """

    def __init__(self) -> None:
        super().__init__()
        self._add("conv1_7x7_s2", 3, 64, 7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64, 1)
        self._add("conv2_3x3", 64, 192, 3)
        width = 192
        for name, block in _BLOCKS.items():
            width = self._add_block(f"inception_{name}", width, block)

    def forward(self, images: Tensor) -> Tensor:
        """Features of shape (N, 1024)."""
        maps = _halve(self._convolve("conv1_7x7_s2", images))
        maps = self._convolve("conv2_3x3", self._convolve("conv2_3x3_reduce", maps))
        maps = _halve(maps)
        for name, block in _BLOCKS.items():
            maps = self._inception(f"inception_{name}", block, maps)
        return maps.mean((2, 3))

    def _add(self, name: str, width_in: int, width_out: int, size: int, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(width_in, width_out, size, stride, padding=size // 2))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(width_out))

    def _add_block(self, name: str, width: int, block: _Block) -> int:
        """Add a block's layers; the width of what it gives."""
        stride = 1 if block.one else 2
        if block.one:
            self._add(f"{name}_1x1", width, block.one, 1)
        self._add(f"{name}_3x3_reduce", width, block.three[0], 1)
        self._add(f"{name}_3x3", *block.three, 3, stride)
        self._add(f"{name}_double_3x3_reduce", width, block.double[0], 1)
        self._add(f"{name}_double_3x3_1", *block.double, 3)
        self._add(f"{name}_double_3x3_2", block.double[1], block.double[1], 3, stride)
        if block.projection:
            self._add(f"{name}_pool_proj", width, block.projection, 1)
        return block.one + block.three[1] + block.double[1] + (block.projection or width)

    def _convolve(self, name: str, maps: Tensor) -> Tensor:
        convolved = self.get_submodule(name)(maps)
        return F.relu(self.get_submodule(f"{name}_bn")(convolved))

    def _inception(self, name: str, block: _Block, maps: Tensor) -> Tensor:
        branches = [self._convolve(f"{name}_1x1", maps)] if block.one else []
        for branch, steps in (("3x3", ("",)), ("double_3x3", ("_1", "_2"))):
            out = self._convolve(f"{name}_{branch}_reduce", maps)
            for step in steps:
                out = self._convolve(f"{name}_{branch}{step}", out)
            branches.append(out)
        branches.append(self._pool(name, block, maps))
        if branches[0].shape[2:] != branches[-1].shape[2:]:
            raise ValueError(
                f"BNInception cannot halve maps of {maps.shape[2]} x {maps.shape[3]} in {name}: "
                "make the images' height and width multiples of 32, such as 224"
            )
        return torch.cat(branches, dim=1)

    def _pool(self, name: str, block: _Block, maps: Tensor) -> Tensor:
        if not block.projection:
            return _halve(maps)
        pool = F.avg_pool2d if block.pool == "mean" else F.max_pool2d
        return self._convolve(f"{name}_pool_proj", pool(maps, 3, stride=1, padding=1))


def _halve(maps: Tensor) -> Tensor:
    return F.max_pool2d(maps, 3, stride=2, ceil_mode=True)
