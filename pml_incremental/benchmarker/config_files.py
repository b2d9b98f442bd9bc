"""Where the runner finds config files: ours lie beside powerful-benchmarker's, uncopied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "configs"
# In a checkout they lie beside the package.
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"
OURS = CONFIGS / "powerful_benchmarker"
LOSSES = CONFIGS / "losses"


def find_config(category: str, name: str, folders: Sequence[Path]) -> Path:
    """The file of a config.

    Args:
        category: one of powerful-benchmarker's eight, such as ``config_general``.
        name: of the file, without suffix.
        folders: each with a folder for each category, searched in this order. Losses are also
            looked for in ``configs/losses``, after the first folder's.

    Returns:
        The first that exists.

    Raises:
        ValueError: if there is none, with the names that there are.
    """
    places = [folder / category for folder in folders]
    if category == "config_loss_and_miners":
        places.insert(1, LOSSES)
    for place in places:
        if (place / f"{name}.yaml").is_file():
            return place / f"{name}.yaml"
    known = sorted({path.stem for place in places for path in place.glob("*.yaml")})
    raise ValueError(f"there is no {name!r} for --{category}; there are: {', '.join(known)}")
