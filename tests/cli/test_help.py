"""Every command says how it is used, with an example that its own parser takes."""

import shlex
from pathlib import Path

import pytest
import typer

from pml_incremental.cli import main
from pml_incremental.cli.commands import app

CONFIGS = Path(__file__).parents[2] / "configs"
PROGRAM = "pml-incremental"


def commands(group, path=()):
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))


def test_all_commands_are_looked_at():
    assert {path[-1] for path in COMMANDS if path} == {
        *("init", "run", "validate", "list", "update", "compare", "tune", "report", "diagnose"),
        "export",
        *("gallery", "build", "search", "fit-map", "import", "export", "add", "remove"),
        *("move", "move-store"),
    }
    assert ("gallery", "update") in COMMANDS


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_of_a_command_parses(path):
    says, program, *words = shlex.split(COMMANDS[path].epilog)
    assert (says, program) == ("Example:", PROGRAM)
    assert tuple(words[: len(path)]) == path
    command, context = ROOT, None
    while True:
        is_group = hasattr(command, "commands")
        context = command.make_context(program, words, parent=context)
        if not is_group:
            break
        program, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )
    for word in words:
        assert not word.startswith("configs/") or (CONFIGS.parent / word).is_file(), word


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_argument_and_option_says_what_it_is(path, capsys):
    for parameter in COMMANDS[path].params:
        assert parameter.help, parameter.name
        assert parameter.help.endswith("."), parameter.name
    assert main([*path, "--help"]) == 0
    assert f"Example: {PROGRAM}" in capsys.readouterr().out
