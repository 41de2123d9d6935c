"""What of a run's time went into compiling `fun`, for `Result.time`.

No framework says how long it compiled in one call, so the first call of each compiled function is held against the
second: what the first took longer is compilation. Whether it compiled at all is seen by whether it unpacked a nest: a
compiled `fun` is run by Python only while it is traced. So a function that an earlier run has compiled counts as none,
however slow its first call. Where there is no second call, the first one counts as compilation whole.

After these calls the watch steps aside; an evaluation costs what it would without.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

from ._tree import Structure


class Traces:
    """How often Python has run a compiled function of nests of one structure.

    What is compiled may be kept by the framework for long, and this with it: it refers to nothing.
    """

    def __init__(self, structure: Structure) -> None:
        self.count = 0
        unpack = structure.unpack

        def counted(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            return unpack(*arguments, **named)

        structure.unpack = counted  # type: ignore[method-assign]  # of this instance: a run's own


class Untold:
    """`Traces` of a framework that traces without running `fun`: the first call is taken for one that compiled.

    Where it did not, the second took as long, and nothing is charged in the end.
    """

    def __init__(self) -> None:
        self._asked = 0

    @property
    def count(self) -> int:
        """1 at the first asking, before the first call, and 2 ever after."""
        self._asked += 1
        return min(self._asked, 2)


class FirstCalls:
    """A function that its framework compiles, until it has been called twice.

    Parameters
    ----------
    evaluate : callable
    traces : Traces or Untold
    charge : callable
        Is told seconds that were compilation; negative ones were none after all.
    step_aside : callable
        Is given ``evaluate``, to be called instead from now on.
    """

    def __init__(
        self,
        evaluate: Callable[..., Any],
        traces: Traces | Untold,
        charge: Callable[[float], None],
        step_aside: Callable[[Any], None],
    ) -> None:
        self.evaluate, self.traces, self.charge, self.step_aside = evaluate, traces, charge, step_aside
        self.charged = 0.0

    def __call__(self, *arguments: Any) -> Any:
        before, start = self.traces.count, perf_counter()
        returned = self.evaluate(*arguments)
        took = perf_counter() - start
        if self.traces.count > before:
            self.charged = took
            self.charge(took)
        else:
            # The first call evaluated too, for about as long as this one.
            self.charge(-min(took, self.charged))
            self.step_aside(self.evaluate)
        return returned
