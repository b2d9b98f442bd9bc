"""The metric that tables, pictures and choices are made from, as runs and records call it."""

from __future__ import annotations

RECALL_AT_1 = "recall_at_1"
#: Among the images of the query's own task.
OWN = f"own/{RECALL_AT_1}"
#: Among those of all tasks seen.
JOINT = f"joint/{RECALL_AT_1}"
