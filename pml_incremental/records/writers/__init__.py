"""Where records can go; each is a ``RecordWriter``."""

from pml_incremental.records.writers.mlflow_writer import MLflowWriter
from pml_incremental.records.writers.record_keeper_writer import RecordKeeperWriter
from pml_incremental.records.writers.tensorboard_writer import TensorBoardWriter
from pml_incremental.records.writers.wandb_writer import WandbWriter

__all__ = ["MLflowWriter", "RecordKeeperWriter", "TensorBoardWriter", "WandbWriter"]
