"""An update's figures as a table on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from pml_incremental.report.bare_table import add_number_columns, bare_table
from pml_incremental.report.text import percent

if TYPE_CHECKING:
    from pml_incremental.experiment.updating.update import Update


def print_update(update: Update, console: Console | None = None) -> None:
    """Print Recall@1 of the old and the new model, a line for each folder.

    A folder's images are searched in that folder alone, and among the images of all. A dash stands
    for a number that is undefined.

    Args:
        update: what was measured.
        console: where to print. Default: the terminal.

    Example:
        >>> from pathlib import Path
        >>> from pml_incremental.experiment.updating.update import Figures
        >>> from pml_incremental.experiment.updating.update import Update
        >>> before, after = (Figures({"old": own}, {"old": 0.5}) for own in (0.75, 0.5))
        >>> console = Console(width=100)
        >>> with console.capture() as printed:
        ...     print_update(Update(Path("new.safetensors"), Path("runs"), before, after), console)
        >>> printed.get().splitlines()[-1].split()
        ['old', '75.0', '50.0', '50.0', '50.0']
    """
    table = bare_table(f"{update.file.name}: Recall@1 in %", "images")
    add_number_columns(
        table, ("alone\nbefore", "alone\nafter", "together\nbefore", "together\nafter")
    )
    before, after = update.before, update.after
    columns = (before.own, after.own, before.together, after.together)
    for name in before.own:
        table.add_row(Text(name), *(percent(column[name]) for column in columns))
    (console or Console()).print(table)
