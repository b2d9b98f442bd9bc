"""One model trained by several processes."""

from pml_incremental.distributed.batchnorm import share_batchnorm
from pml_incremental.distributed.launch import own_device, process_group
from pml_incremental.distributed.processes import FirstProcessError, Processes, RankBatches

__all__ = [
    "FirstProcessError",
    "Processes",
    "RankBatches",
    "own_device",
    "process_group",
    "share_batchnorm",
]
