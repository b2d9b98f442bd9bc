"""Names that every record writer can keep."""

from __future__ import annotations

import re

# record-keeper replaces the middle of a name, between its first and last underscore, by a hash
# when it is longer than this; what looks the table up afterwards does not find it.
_LONGEST_MIDDLE = 64


def record_name(text: str) -> str:
    """The text with everything but letters, digits and underscores made an underscore.

    Example:
        >>> record_name("own/recall_at_1")
        'own_recall_at_1'
    """
    return re.sub(r"[^A-Za-z0-9_]", "_", text)


def check_table_name(name: str, what: str = "the name") -> None:
    """Refuse what record-keeper cannot keep as the name of a table.

    Args:
        name: of the table; it becomes unquoted SQL.
        what: whose name it is, for the message.

    Raises:
        ValueError: if it holds anything but letters, digits and underscores, begins with a digit,
            or is so long that record-keeper would replace a part of it.

    Example:
        >>> check_table_name("own_recall_at_1")
        >>> check_table_name("task-1", "split 'task-1'")
        Traceback (most recent call last):
        ...
        ValueError: split 'task-1' gives a table 'task-1', which SQL cannot name: use letters, \
digits and underscores
    """
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError(
            f"{what} gives a table {name!r}, which SQL cannot name: use letters, digits and "
            "underscores"
        )
    middle = "_".join(name.split("_")[1:-1])
    if len(middle) > _LONGEST_MIDDLE:
        raise ValueError(
            f"{what} gives a table {name!r}, of which record-keeper would replace the middle by a "
            f"hash, as it is {len(middle)} characters long and may be {_LONGEST_MIDDLE}: use a "
            "shorter name"
        )
