"""Check what ``python -m build`` has made, and learn a tiny stream with the wheel alone.

``python runners/check_package.py dist`` installs the wheel into the environment that it runs in.
"""

import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TINY = (
    "num_epochs=1",
    "trainer.IncrementalMetricLoss.iterations_per_epoch=2",
    "dataset.Glyphs.max_classes_per_script=20",
)
IN_SDIST = ("README.md", "CHANGELOG.md", "LICENSE", "tox.ini", "mkdocs.yml", "tests/conftest.py")


def the_one(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    assert len(found) == 1, f"{folder} holds {len(found)} of {pattern}: empty it and build anew"
    return found[0]


def files_under(folder: Path, below: str, *patterns: str) -> set[str]:
    found = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    return {f"{below}/{path.relative_to(folder).as_posix()}" for path in found}


def check_wheel(wheel: Path) -> None:
    """The package, the configs of its command, and nothing else."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = files_under(
        ROOT / "pml_incremental", "pml_incremental", "*.py", "*.css", "*.html", "py.typed"
    )
    configs = files_under(ROOT / "configs", "pml_incremental/configs", "*.yaml")
    expected = package | configs
    assert names == expected, f"missing or too many: {sorted(names ^ expected)}"
    assert "pml_incremental/py.typed" in names


def check_sdist(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    missing = [name for name in IN_SDIST if name not in names]
    assert not missing, f"the sdist lacks {missing}"


def check_use(wheel: Path) -> None:
    """What a user does first, in a folder without the repository."""
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, wheel], check=True)
    # pip leaves a wheel of the same version where it is.
    subprocess.run([*install, "--force-reinstall", "--no-deps", wheel], check=True)
    command = Path(sys.executable).with_name("pml-incremental")
    with tempfile.TemporaryDirectory() as folder:
        for arguments in (["list", "configs"], ["run", "glyphs", *TINY, "--quiet"]):
            subprocess.run([command, *arguments], cwd=folder, check=True)
        metrics = json.loads((Path(folder) / "runs/glyphs/metrics.json").read_text())
        where = "import pml_incremental; print(pml_incremental.__file__)"
        used = subprocess.check_output([sys.executable, "-c", where], cwd=folder, text=True)
    assert set(metrics["strategies"]) == {"finetune", "correlation", "fecd", "function-matching"}
    assert ROOT not in Path(used.strip()).parents or ".tox" in used, f"used {used}"


if __name__ == "__main__":
    dist = Path(sys.argv[1]).resolve()
    check_wheel(the_one(dist, "*.whl"))
    check_sdist(the_one(dist, "*.tar.gz"))
    check_use(the_one(dist, "*.whl"))
