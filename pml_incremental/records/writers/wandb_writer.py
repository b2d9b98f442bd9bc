"""Records for Weights & Biases."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pml_incremental.extras import require


class WandbWriter:
    """A W&B run for each scope; those of one of our runs are a W&B group.

    Args:
        folder: of all records of the run; W&B's files are in ``<scope>/wandb``.
        scope: the W&B run's name.
        run: the W&B group.
        project: of W&B.
        entity: W&B user or team; default: W&B's.
        mode: ``"offline"``, so that nothing leaves the machine until ``wandb sync``, or
            ``"online"``.

    Raises:
        MissingExtraError: if wandb is not installed.
    """

    def __init__(
        self,
        folder: str | Path,
        scope: str,
        run: str,
        project: str = "pml-incremental",
        entity: str | None = None,
        mode: Literal["offline", "online"] = "offline",
    ) -> None:
        require("wandb", "WandbWriter", extra="wandb")
        import wandb

        place = Path(folder) / scope
        place.mkdir(parents=True, exist_ok=True)
        self._run = wandb.init(
            project=project,
            entity=entity,
            group=run,
            name=scope,
            dir=str(place),
            mode=mode,
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off"),
        )

    def config(self, values: Mapping[str, Any]) -> None:
        """Write the config."""
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve, called ``group/name``, over ``group/step``."""
        points = {
            f"{group}/{name}": float(value)
            for name, value in values.items()
            if math.isfinite(value)
        }
        # Each group counts its own steps, which need not grow together.
        self._run.define_metric(f"{group}/*", step_metric=f"{group}/step")
        self._run.log({**points, f"{group}/step": step})

    def image(self, name: str, file: Path, step: int) -> None:
        """Add the picture."""
        import wandb

        picture = wandb.Image(str(file), caption=f"{name}, {step}")
        self._run.log({f"pictures/{name}": picture})

    def close(self) -> None:
        """Finish the W&B run."""
        self._run.finish()
