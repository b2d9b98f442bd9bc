"""Where classes of one's own are looked for."""

from __future__ import annotations

import os
import sys


def find_own_modules() -> None:
    """Let Python find the user's own ``my_module:MyClass`` in the working folder."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
