"""SciPy's own warnings, passed on once a run, to the user's line and with the method's name.

SciPy warns from inside its loops: the same line may come at every iteration, and points at SciPy's source. They are
held back while the solver runs and given out after it, each once. What the user's own functions warn of is let
through as it comes, under the user's filters.

Python keeps its filters for the whole process, so only the main thread does this; in others SciPy's warnings come
as they are (until Python 3.14's context-aware warnings are the rule).
"""

from __future__ import annotations

import threading
import warnings
from types import TracebackType
from typing import Any

INNER = r"(scipy|dmin_core)\b"

IN_OUR_WORDS = {
    "Values in x were outside bounds during a minimize step, clipping to bounds": (
        "a step left the bounds and was moved back onto them"
    ),
    "delta_grad == 0.0. Check if the approximated function is linear.": (
        "the gradient of `fun` did not change between two iterations: is `fun` linear?"
    ),
}


class Relay:
    """``with Relay(method) as relay: solve()``, then `pass_on`."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.held: dict[tuple[type[Warning], str], None] = {}
        self.active = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Relay:
        if self.active:
            self.before = warnings.catch_warnings()
            self.before.__enter__()
            self.show = warnings.showwarning
            warnings.showwarning = self._note
            warnings.filterwarnings("always", module=INNER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.active:
            self.before.__exit__(kind, error, trace)

    def _note(self, message: Warning | str, category: type[Warning], filename: str, *rest: Any, **named: Any) -> None:
        inner = any(f"{name}/" in filename.replace("\\", "/") for name in ("scipy", "dmin_core"))
        if not inner:
            self.show(message, category, filename, *rest, **named)
            return
        self.held[category, str(message)] = None

    def pass_on(self, stacklevel: int) -> None:
        """Give out what was held back."""
        for category, text in self.held:
            said = next((ours for theirs, ours in IN_OUR_WORDS.items() if text.startswith(theirs)), text)
            warnings.warn(f"{self.method}: {said}", category, stacklevel=stacklevel + 1)
