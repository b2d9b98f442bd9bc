"""What the command line prints as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pml_incremental.config import (
    PLURALS,
    ConfigError,
    ExperimentConfig,
    available,
    dump_yaml,
    first_sentence,
    shipped_configs,
    suggest,
)
from pml_incremental.wording import some_of

if TYPE_CHECKING:
    from pml_incremental.scenarios import ClassIncrementalScenario


def print_overview(config: ExperimentConfig) -> None:
    """Print what a config says, with its defaults."""
    table = Table(title=f"{config.name} is valid", title_justify="left", show_header=False)
    for key, value in config.to_yaml_dict().items():
        if value not in (None, [], {}):
            text = dump_yaml(value).removesuffix("...\n")
            table.add_row(key, escape(text.rstrip()))
    _print(table)


def print_tasks(scenario: ClassIncrementalScenario) -> None:
    """Print how many classes and images each task has, and which classes have none."""
    rows = [
        tuple(map(str, (task.number, len(task.classes), len(task.train), len(task.test))))
        for task in scenario
    ]
    _print_rows("tasks", ("task", "classes", "training images", "test images"), rows)
    print_left_out(scenario.left_out)


def print_left_out(why: Mapping[str, str]) -> None:
    """Print which classes no task brings, if there are any, by the reason."""
    for reason in dict.fromkeys(why.values()):
        classes = [name for name, own in why.items() if own == reason]
        print(f"classes left out: {len(classes)}, {some_of(classes)} ({reason})")


def print_names(group: str) -> None:
    """Print the names that a config can use, or those of the configs that there are."""
    if group == "configs":
        files = shipped_configs()
        _print_rows(
            f"configs, in {files['glyphs'].parent}",
            ("name", "what it is"),
            [(name, first_sentence(file)) for name, file in files.items()],
        )
        return
    categories = {plural: category for category, plural in PLURALS.items()}
    if group not in categories:
        message = f"there is no group {group!r}"
        raise ConfigError([f"{message}; {suggest(group, [*categories, 'configs'])}"])
    _print_rows(
        group,
        ("name", "from", "what it is"),
        [(name, *about) for name, about in available(categories[group]).items()],
    )


def _print_rows(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1])
    for row in rows:
        table.add_row(*map(escape, row))
    _print(table)


def _print(table: Table) -> None:
    """Print for the terminal or, to a file or pipe, without breaking lines."""
    console = Console()
    Console(width=None if console.is_terminal else 200).print(table)
