"""Stopping a run so that nothing it has learned is lost."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from pml_incremental.distributed import Processes

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class RunInterrupted(KeyboardInterrupt):  # a request, and no error
    """A run was asked to stop, and did when its state was saved."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        name = signal.Signals(self.number).name
        return f"stopped by {name}; what was learned is kept: the same command goes on from there"

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
        number = self.processes.largest(self.number or 0)
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
