"""powerful-benchmarker 0.9.33 with the losses, trainers and datasets of this package.

It takes powerful-benchmarker's own command line, in which ``--config_general [default, fecd]`` and
the like also name our files; docs/powerful-benchmarker.md has whole commands.
"""

from __future__ import annotations

import argparse
import logging
from importlib import metadata


def main() -> None:
    """Read where things are and run the experiment that the rest of the command line describes."""
    try:
        metadata.version("powerful-benchmarker")
    except metadata.PackageNotFoundError:
        raise SystemExit(
            "powerful-benchmarker is not installed, and no extra can install it, because it pins "
            "an old pytorch-metric-learning; docs/powerful-benchmarker.md says how to install it"
        ) from None
    from pml_incremental.benchmarker.runner import IncrementalRunner

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(allow_abbrev=False, add_help=False)
    parser.add_argument("--dataset_root", default="datasets")
    parser.add_argument("--root_experiment_folder", default="experiments")
    parser.add_argument("--root_config_folder")
    parser.add_argument("--pytorch_home")
    parser.add_argument("--global_db_path")
    parser.add_argument("--merge_argparse_when_resuming", action="store_true")
    places, _ = parser.parse_known_args()
    IncrementalRunner(**vars(places)).run()


if __name__ == "__main__":
    main()
