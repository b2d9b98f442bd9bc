"""Numbers and names in sentences for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """A number with what it counts, as people write it.

    Example:
        >>> counted(1, "class"), counted(2, "class"), counted(0, "query")
        ('1 class', '2 classes', '0 queries')
    """
    if noun.endswith("s"):
        plural = f"{noun}es"
    else:
        plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {noun if number == 1 else plural}"


def some_of(names: Iterable[object]) -> str:
    """The first five names, and whether there are more.

    Example:
        >>> some_of("abcdefg")
        'a, b, c, d, e, ...'
    """
    listed = list(map(str, names))
    return ", ".join(listed[:5]) + (", ..." if len(listed) > 5 else "")


def first_lines(lines: Sequence[str], most: int = 10) -> list[str]:
    """The first lines of a list, and how many more there are.

    Example:
        >>> first_lines("abcd", most=2)
        ['a', 'b', '... and 2 more']
    """
    rest = len(lines) - most
    return [*lines[:most], *([f"... and {rest} more"] if rest > 0 else [])]
