"""A trunk in the form that powerful-benchmarker takes."""

from __future__ import annotations

from torch import nn

from pml_incremental import models


class SmallConvNet(models.SmallConvNet):
    """See :class:`pml_incremental.models.SmallConvNet`.

    powerful-benchmarker reads the width of a trunk off its layer ``last_linear``, which it then
    replaces by the identity, and how to normalise images off the four attributes.
    """

    def __init__(self, in_channels: int = 1, width: int = 24) -> None:
        super().__init__(in_channels, width)
        self.last_linear = nn.Linear(4 * width, 1)
        self.mean, self.std = [0.0] * in_channels, [1.0] * in_channels
        self.input_space, self.input_range = "RGB", [0, 1]
