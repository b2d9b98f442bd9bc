"""Saving a task while it is learned, and resuming it."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from pml_incremental.config import CheckpointSpecs
from pml_incremental.distributed import Processes
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

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

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
        found = self.stop.processes.on_rank_zero(lambda: newest_readable(self.file))
        if found is None:
            return None
        state = unpack_state(found.state, found.tensors)
        for component, own in zip(components, state["components"], strict=True):
            component.load_training_state(own)
        if moving is not None:
            for name, model in moving.models().items():
                model.load_state_dict(state["teacher"][name])
        trainer: dict[str, Any] = state["trainer"]
        if self.stop.processes.is_distributed:
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
            self.stop.processes.barrier()  # until the first one has saved
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
        if not self.stop.processes.is_rank_zero:
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
            logger.warning(
                "no checkpoint: %s. Training continues; the last checkpoint is kept", error
            )
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


class RunInterrupted(KeyboardInterrupt):  # a request, and no error
    """A run was asked to stop, and did when its state was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"stopped by {name}; progress is saved: run the same command to resume"

    @property
    def exit_code(self) -> int:
        """As shells have it: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + self.number


@dataclass
class StopRequest:
    """Whether the process was asked to stop."""

    number: int | None = None  # of the signal that asked; None if none did
    can_wait: bool = False  # whether something runs that will stop by itself as soon as it can
    processes: Processes = field(default_factory=Processes)  # that stop together
    _process: int = field(default_factory=os.getpid)
    _was_asked: bool = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that looks at :meth:`raise_if_asked` now and then."""
        self.can_wait = True
        try:
            yield
        finally:
            self.can_wait = False
        self.raise_if_asked()

    def agree(self) -> bool:
        """Whether one of the processes was asked to stop, which then all are.

        Called by all at the same place. A signal that comes later counts at the next.
        """
        number = self.processes.all_max(self.number or 0)
        if number:
            self.number = number
        return number > 0

    def raise_if_asked(self) -> None:
        """Stop, if that was asked for."""
        if self.number is not None:
            raise RunInterrupted(self.number)

    def ask(self, number: int, _frame: FrameType | None = None) -> None:
        """Handle a signal: the first one asks, a second one ends the process at once."""
        if os.getpid() != self._process:  # a data loading process, which its parent will end
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        if self._was_asked:
            sys.exit(128 + number)
        self._was_asked = True
        self.number = number
        if not self.can_wait:
            raise RunInterrupted(number)
        text = "stopping after this iteration, then saving; once more to stop at once"
        print(f"\n{signal.Signals(number).name}: {text}", file=sys.stderr, flush=True)


@contextmanager
def stop_signals(processes: Processes | None = None) -> Iterator[StopRequest]:
    """Let SIGINT and SIGTERM ask for a stop within a block.

    In other threads than the main one, where Python handles no signals, nothing is changed; a
    signal that is ignored stays so.
    """
    stop = StopRequest(processes=Processes() if processes is None else processes)
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    heeded = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop.ask) for number in heeded}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
