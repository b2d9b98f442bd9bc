"""Vector stores of other programs, whose vectors are moved to a new model in place.

A move has four steps, each safe to repeat: :func:`move_store` writes the new model's vectors beside
the old ones, :func:`cut_over` lets programs search them, :func:`roll_back` takes that back, and
:func:`drop_old` or :func:`drop_new` deletes those that are not searched.
"""

from pml_incremental.stores.moving import (
    MoveReport,
    cut_over,
    drop_new,
    drop_old,
    move_store,
    roll_back,
)
from pml_incremental.stores.opening import open_store
from pml_incremental.stores.store import Fields, Rows, VectorStore, Versions

__all__ = [
    "Fields",
    "MoveReport",
    "Rows",
    "VectorStore",
    "Versions",
    "cut_over",
    "drop_new",
    "drop_old",
    "move_store",
    "open_store",
    "roll_back",
]
