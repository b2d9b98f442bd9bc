"""Write an example as a notebook beside it, executed: make_notebook.py examples/x.py

Needs: pip install jupytext nbclient ipykernel
"""

import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def as_notebook(script: Path) -> NotebookNode:
    """The script's cells, which begin with ``# %%``, without outputs."""
    notebook = jupytext.read(script, fmt="py:percent")
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
        cell.metadata = {}
    return notebook


def main(script: Path) -> None:
    notebook = as_notebook(script)
    client = NotebookClient(notebook, record_timing=False)
    client.execute()
    # What the kernel says of itself differs from machine to machine.
    notebook.metadata = as_notebook(script).metadata
    nbformat.write(notebook, script.with_suffix(".ipynb"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
