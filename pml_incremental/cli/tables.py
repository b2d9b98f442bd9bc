"""What the command line prints as tables."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pml_incremental.config import (
    PLURALS,
    ConfigError,
    ExperimentConfig,
    available,
    dump_yaml,
    suggest,
)


def print_overview(config: ExperimentConfig) -> None:
    """Print what a config says, with its defaults.

    Args:
        config: a valid config.
    """
    table = Table(title=f"{config.name} is valid", title_justify="left", show_header=False)
    for key, value in config.to_yaml_dict().items():
        if value not in (None, [], {}):
            text = dump_yaml(value).removesuffix("...\n")
            table.add_row(key, escape(text.rstrip()))
    _print(table)


def print_names(group: str) -> None:
    """Print the names that a config can use.

    Args:
        group: a plural such as ``losses``.

    Raises:
        ConfigError: if there is no such group, with the nearest one.
    """
    categories = {plural: category for category, plural in PLURALS.items()}
    if group not in categories:
        message = f"there is nothing called {group!r} to list; {suggest(group, categories)}"
        raise ConfigError([message])
    table = Table(title=group, title_justify="left")
    table.add_column("name", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("what it is")
    for name, (origin, line) in available(categories[group]).items():
        table.add_row(name, origin, escape(line))
    _print(table)


def _print(table: Table) -> None:
    """Print for the terminal or, to a file or pipe, without breaking lines."""
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)
