"""Records of a run: one small interface, and writers for record-keeper, TensorBoard and others."""

from pml_incremental.records.record_writer import (
    RecordWriter,
    SeveralWriters,
    check_table_name,
    record_name,
    record_task_summary,
)

__all__ = [
    "RecordWriter",
    "SeveralWriters",
    "check_table_name",
    "record_name",
    "record_task_summary",
]
