"""Whether an update that was killed goes on with the weights that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pml_incremental.config import ExperimentConfig
from pml_incremental.experiment.run_folder import RunFolder
from pml_incremental.storage.checksum import sha256

_FILE = "old_weights.json"


def check_old_weights(config: ExperimentConfig, sources: Mapping[str, Mapping[str, str]]) -> None:
    """Note in the run's folder which old weights it begins with, or check that they are those.

    Args:
        config: of the run.
        sources: ``weights_file`` of each model.

    Raises:
        ValueError: if a file is another one by now, or the folder holds another run.
    """
    folder = RunFolder(config.output / config.name, config.to_yaml_dict())
    files = sorted({source["weights_file"] for source in sources.values()})
    now = {file: sha256(Path(file)) for file in files}
    before = folder.noted_at_start(_FILE, now)
    changed = [file for file in files if before.get(file) != now[file]]
    if changed:
        raise ValueError(
            f"{', '.join(changed)} changed since {folder.path} was begun with it: bring it back, "
            "or delete that folder and update anew"
        )
