"""powerful-benchmarker's runner with our classes and config files."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from pml_incremental.benchmarker import classes as ours
from pml_incremental.benchmarker.config_files import OURS, find_config

# powerful-benchmarker is first imported by the modules below, once what it misses is there.
if int(version("pytorch-metric-learning").split(".")[0]) >= 2:
    from pml_incremental.benchmarker import pml_2 as for_this_pml
else:
    from pml_incremental.benchmarker import pml_0_9 as for_this_pml
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner

from pml_incremental.benchmarker import api_parsers
from pml_incremental.benchmarker.split_manager import ClassIncrementalSplitManager


class IncrementalRunner(SingleExperimentRunner):
    """Runs one experiment, whose split schemes are the tasks if it has an incremental trainer.

    Args:
        root_config_folder: config folders of your own, which come before ours and
            powerful-benchmarker's.
        **kwargs: ``dataset_root``, ``root_experiment_folder`` and the other arguments of
            powerful-benchmarker's runners.
    """

    def __init__(self, root_config_folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        theirs = Path(self.root_config_folder)
        own = [] if root_config_folder is None else [Path(root_config_folder)]
        self.config_folders = [*own, OURS, theirs]
        register_all(self)

    def get_root_config_paths(self, args: Any) -> dict[str, list[str]]:
        """Each file from the first folder that has it."""
        paths = super().get_root_config_paths(args)
        return {
            category: [self.locate(category, path) for path in found]
            for category, found in paths.items()
        }

    def locate(self, category: str, path: str) -> str:
        """The file to read where powerful-benchmarker would read one in its own folder."""
        if Path(path).parent.name != category:  # its list of categories, which is not ours
            return path
        return str(find_config(category, Path(path).stem, self.config_folders))


def register_all(runner: Any) -> None:
    """Make our classes known by name to a powerful-benchmarker runner."""
    for kind, classes in (*for_this_pml.CLASSES.items(), *COMMON_CLASSES.items()):
        for one in classes:
            runner.register(kind, one)


COMMON_CLASSES: dict[str, tuple[type, ...]] = {
    "dataset": (ours.Glyphs, ours.ImageFolder, ours.NpzImages),
    "model": (ours.SmallConvNet,),
    "split_manager": (ClassIncrementalSplitManager,),
    "api_parser": (
        api_parsers.APIIncrementalMetricLoss,
        api_parsers.APIIncrementalTrainWithClassifier,
    ),
}
