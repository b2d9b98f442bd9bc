"""Saving a task while it is learned, and going on with it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pml_incremental.config import CheckpointSpecs
from pml_incremental.experiment.running.stop_signals import StopRequest
from pml_incremental.storage import (
    DamagedFileError,
    StorageError,
    newest_readable,
    pack_state,
    unpack_state,
    write_generation,
)
from pml_incremental.strategies import Component
from pml_incremental.trainers import ResumableMixin, Teacher

logger = logging.getLogger(__name__)


class TaskCheckpoint:
    """Saves what training changes: the trainer's state, that of components, a moving teacher.

    A disk that is full does not end the training: that is logged, and the last good file kept.
    """

    def __init__(self, file: Path, when: CheckpointSpecs, stop: StopRequest) -> None:
        self.file = file
        self.when = when
        self.stop = stop
        self._components: Sequence[Component] = ()
        self._teacher: Teacher | None = None
        self._last_epoch = 0
        self._begin_interval()

    def resume(
        self, components: Sequence[Component], moving: Teacher | None, last_epoch: int
    ) -> dict[str, Any] | None:
        """Bring components and teacher to where the file has them."""
        self._components, self._teacher, self._last_epoch = components, moving, last_epoch
        self._begin_interval()
        found = self.stop.processes.on_first(lambda: newest_readable(self.file))
        if found is None:
            return None
        state = unpack_state(found.state, found.tensors)
        for component, own in zip(components, state["components"], strict=True):
            component.load_training_state(own)
        if moving is not None:
            for name, model in moving.models().items():
                model.load_state_dict(state["teacher"][name])
        trainer: dict[str, Any] = state["trainer"]
        if self.stop.processes.several:
            # Each process has its own GPU, and goes on as the first one does on its.
            streams = trainer["random"]["cuda"]
            trainer["random"]["cuda"] = streams[:1] * torch.cuda.device_count()
        return trainer

    def after_iteration(self, trainer: ResumableMixin) -> None:
        """Save if it is time, or if the run was asked to stop, which it then does."""
        self._iterations += 1
        stops = self._agree_to_stop(trainer)
        if stops or self._is_due():
            self.save(trainer)
        if stops:
            self.stop.processes.wait()  # until the first one has saved
            self.stop.raise_if_asked()

    def after_epoch(self, trainer: ResumableMixin) -> None:
        """Save if it is time, or if training has ended."""
        self._epochs += 1
        if trainer.position[0] > self._last_epoch or self._is_due():
            self.save(trainer)
        self._agree_to_stop(trainer)

    def after_failure(self, trainer: ResumableMixin, error: Exception) -> None:
        """Save the state before the iteration that failed."""
        logger.warning("training failed (%s); saving the state before it", type(error).__name__)
        self.save(trainer)

    def save(self, trainer: ResumableMixin) -> None:
        """Write the file, in the first process; if that cannot be done, say so."""
        if not self.stop.processes.is_first:
            return
        models = {} if self._teacher is None else self._teacher.models()
        state = {
            "trainer": trainer.state_dict(),
            "components": [component.training_state() for component in self._components],
            "teacher": {name: model.state_dict() for name, model in models.items()},
        }
        plain, tensors = pack_state(state)
        try:
            write_generation(self.file, tensors, plain)
        except (StorageError, DamagedFileError) as error:
            logger.warning("no checkpoint: %s. Training goes on, the last checkpoint stays", error)
        self._begin_interval()

    def _agree_to_stop(self, trainer: ResumableMixin) -> bool:
        try:
            return self.stop.agree()
        except RuntimeError as error:  # another process is gone
            self.after_failure(trainer, error)
            raise

    def _begin_interval(self) -> None:
        self._epochs, self._iterations, self._since = 0, 0, time.monotonic()

    def _is_due(self) -> bool:
        minutes = (time.monotonic() - self._since) / 60
        passed = (
            (self.when.epochs, self._epochs),
            (self.when.iterations, self._iterations),
            (self.when.minutes, minutes),
        )
        return any(limit is not None and done >= limit for limit, done in passed)
