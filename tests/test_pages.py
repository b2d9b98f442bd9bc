"""Every block of code in the README and in docs/ runs as it stands, or is checked as far as can be.

The blocks of a page share one namespace and one folder, in which ``configs`` is ours:

- ``python`` is executed.
- ``yaml`` must be a valid config: by itself if it is a whole one, else laid over ``BASE``.
- ``bash``: commands of ours must be understood, and the config that they name be valid. ``run`` is
  run if the page wrote that config itself. Scripts must exist.
- ``title="name.py"`` or ``title="name.yaml"`` also writes that file.
- ``<!-- unseen ... -->`` is Python that readers do not see: it sets up what a page takes for
  granted and checks what came of it.
- ``<!-- not run: why -->`` leaves out the block that follows, which must then be in ``NOT_RUN``.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import typer.main
from markdown_it import MarkdownIt

import pml_incremental
from pml_incremental.cli import main
from pml_incremental.cli.commands import app
from pml_incremental.cli.common import load_valid_config
from pml_incremental.config import load_config, parse_yaml, validate

ROOT = Path(__file__).parents[1]
NAMED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = [ROOT / name for name in NAMED] + sorted((ROOT / "docs").rglob("*.md"))
BASE = ROOT / "configs" / "cub_sequential.yaml"
WHOLE = {"dataset", "scenario", "models", "loss_funcs", "optimizers", "trainer", "num_epochs"}
NOT_RUN = {"docs/powerful-benchmarker.md": "powerful-benchmarker has environments of its own"}


class Block(NamedTuple):
    """Code of a page and what kind it is."""

    page: Path
    line: int
    language: str
    title: str
    code: str


def name_of(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    """The blocks of a page in order, and why each one left out is left out."""
    blocks, left_out, why = [], [], ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "html_block":
            unseen = re.fullmatch(r"<!-- unseen\n(.*)\n-->\s*", token.content, re.DOTALL)
            mark = re.fullmatch(r"<!-- not run: (.*) -->\s*", token.content)
            why = mark[1] if mark else ""
            if unseen:
                blocks.append(Block(page, token.map[0], "python", "", unseen[1]))
        elif token.type == "fence":
            language, _, rest = token.info.partition(" ")
            title = re.search(r'title="(.*?)"', rest)
            if why:
                left_out.append(why)
            else:
                name = title[1] if title else ""
                blocks.append(Block(page, token.map[0], language, name, token.content))
            why = ""
    return blocks, left_out


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder with our configs, from which modules can be imported."""
    before = set(sys.modules)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks(page, folder):
    names = {"__name__": "page"}
    for block in blocks_of(page)[0]:
        if block.title:
            (folder / block.title).write_text(block.code)
        if block.language == "python":
            # Empty lines before it: an error names the page's own line.
            exec(compile("\n" * (block.line + 1) + block.code, page, "exec"), names)
        elif block.language == "yaml":
            check_config(block, folder)
        elif block.language == "bash":
            for command in block.code.replace("\\\n", " ").splitlines():
                check_command(shlex.split(command, comments=True), folder)
        else:
            assert "pml-incremental " not in block.code, f"line {block.line + 1}: mark it bash"


def check_config(block, folder):
    layer = folder / (block.title or f"line_{block.line + 1}.yaml")
    layer.write_text(block.code)
    content = parse_yaml(block.code)
    validate(load_config([layer] if content.keys() >= WHOLE else [BASE, layer]))


def check_command(words, folder):
    for word in words:
        if word.endswith(".py"):
            assert (ROOT / word).is_file() or (folder / word).is_file(), word
    if words[:1] != ["pml-incremental"]:
        return
    arguments = understood(words[1:]).get("arguments") or []
    files = [folder / word for word in arguments if word.endswith(".yaml")]
    if "CONFIG" not in arguments and any("=" not in word for word in arguments):
        load_valid_config(arguments)
    if words[1] == "run" and files and all(folder == file.resolve().parent for file in files):
        assert main([*words[1:], "--quiet"]) == 0


def understood(words):
    """The parameters that a command line gives to its command, which is not called."""
    given = {}

    def stub(command):
        for inner in getattr(command, "commands", {}).values():
            stub(inner)
        if not hasattr(command, "commands"):
            command.callback = lambda **parameters: given.update(parameters)

    command = typer.main.get_command(app)
    stub(command)
    command.main(words, standalone_mode=False)
    return given


def test_a_wrong_command_is_noticed():
    assert understood(["run", "glyphs", "--quiet"])["quiet"] is True
    for words in (["rnu", "glyphs"], ["run", "glyphs", "--sielnt"], ["gallery", "build", "x"]):
        with pytest.raises(Exception, match=r"No such|Missing"):
            understood(words)


def test_what_is_not_run_is_listed():
    marked = {name_of(page): ", ".join(blocks_of(page)[1]) for page in PAGES}
    assert {name: why for name, why in marked.items() if why} == NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for inner in token.children or []:
            target = inner.attrGet("href") or inner.attrGet("src") or ""
            path = target.partition("#")[0]
            if path and not re.match(r"\w+:", path):
                assert (page.parent / path).is_file(), target


def test_configs_named_are_there():
    for page in PAGES:
        for path in re.findall(r"configs/[\w/]+\.yaml", page.read_text(encoding="utf-8")):
            assert (ROOT / path).is_file(), f"{name_of(page)}: {path}"


def test_every_package_has_its_reference():
    root = Path(pml_incremental.__file__).parent
    inits = [path for path in root.rglob("__init__.py") if "__all__" in path.read_text()]
    packages = {"pml_incremental." + ".".join(p.parent.relative_to(root).parts) for p in inits}
    pages = (ROOT / "docs" / "reference").glob("*.md")
    shown = {name for page in pages for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)}
    hint = "write docs/reference/<name>.md with '::: pml_incremental.<name>', and into mkdocs.yml"
    assert shown == packages - {"pml_incremental.cli"}, hint


def test_the_library_example_is_short():
    (code,) = (b.code for b in blocks_of(PAGES[0])[0] if "IncrementalMetricLoss" in b.code)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
