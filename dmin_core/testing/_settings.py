"""What belongs to the whole process, and no run may leave changed."""

from __future__ import annotations

import os
import random
import signal
import threading
from typing import Any

import numpy as np


def settings() -> dict[str, Any]:
    """By name, in forms that can be compared."""
    found = {
        "NumPy's handling of floating-point errors": np.geterr(),
        "NumPy's way of printing": repr(np.get_printoptions()),
        "NumPy's global random state": repr(np.random.get_state()),  # noqa: NPY002 - what must not be touched
        "Python's global random state": hash(random.getstate()),
        "the number of threads": threading.active_count(),
        "the current directory": os.getcwd(),
    }
    if threading.current_thread() is threading.main_thread():
        found["the handler of Ctrl-C"] = signal.getsignal(signal.SIGINT)
    return found
