"""Which process this is, and which others live."""

from __future__ import annotations

import os
import socket


def host() -> str:
    """This machine's name, as file names can hold it."""
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in socket.gethostname())


def is_alive(pid: int) -> bool:
    """Whether a process of this machine may still run."""
    if os.name == "nt":  # where os.kill with 0 does not ask but interrupt
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
