"""The package can be read: short files, and imports that go one way, also those for types."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pml_incremental

ROOT = Path(pml_incremental.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST = 350


def name_of(file):
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


NAMES = {name_of(file) for file in FILES}


def imported_on_import(file):
    """Modules named at the top of a file; those of functions come later, and may go back."""
    body = ast.parse(file.read_text()).body
    nested = [statement for node in body if isinstance(node, ast.If) for statement in node.body]
    for node in body + nested:
        if isinstance(node, ast.ImportFrom) and node.module in NAMES:
            modules = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES
            yield from modules or {node.module}


def test_no_module_imports_itself_through_others():
    graph = {name_of(file): set(imported_on_import(file)) - {name_of(file)} for file in FILES}
    TopologicalSorter(graph).prepare()  # raises a CycleError that names the cycle


def test_no_file_is_long():
    lines = {name_of(file): len(file.read_text().splitlines()) for file in FILES}
    assert {name: n for name, n in lines.items() if n > LONGEST} == {}
