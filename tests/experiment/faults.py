"""What configs name here: a transform that ends its process while it trains."""

import os
import signal
from pathlib import Path


class FailOnce:
    """Send this process a signal at some image, unless that was done before.

    Args:
        marker: a file that says that it was done.
        signal_name: such as ``SIGKILL``.
        rank: of the process that gets it.
        after: how many images before.
    """

    def __init__(self, marker, signal_name, rank, after):
        self.marker = Path(marker)
        self.number = signal.Signals[signal_name]
        self.concerned = os.environ.get("RANK") == str(rank)
        self.left = after

    def __call__(self, image):
        self.left -= 1
        if self.concerned and self.left == 0 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), self.number)
        return image
