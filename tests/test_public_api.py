"""What users import stays as it is, or changes on purpose.

The names are those of each package's ``__all__``. ``public_api.txt`` is what they and their
arguments were when last looked at: after a change that is meant, write it anew and note it in
CHANGELOG.md:

    python tests/test_public_api.py
"""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pml_incremental

SNAPSHOT = Path(__file__).with_name("public_api.txt")


def public_objects():
    """Every public name with what it stands for."""
    modules = pkgutil.walk_packages(pml_incremental.__path__, "pml_incremental.")
    packages = [importlib.import_module(m.name) for m in modules if m.ispkg]
    for package in [pml_incremental, *packages]:
        for name in getattr(package, "__all__", ()):
            yield f"{package.__name__}.{name}", getattr(package, name)


def listed():
    return sorted(name + arguments_of(value) for name, value in public_objects())


def arguments_of(value):
    is_error = inspect.isclass(value) and issubclass(value, BaseException)
    if is_error or not (inspect.isclass(value) or inspect.isroutine(value)):
        return ""
    return f"({', '.join(inspect.signature(value).parameters)})"


def test_public_names_and_arguments_are_those_written_down():
    assert listed() == SNAPSHOT.read_text().splitlines()


def test_public_objects_are_described_and_named_after_themselves():
    for name, value in public_objects():
        if inspect.isclass(value) or inspect.isroutine(value):
            assert (inspect.getdoc(value) or "").strip(), name
            assert value.__name__ == name.rpartition(".")[2], name


if __name__ == "__main__":
    SNAPSHOT.write_text("\n".join(listed()) + "\n")
