"""What a contender is in any framework, what all are told, and which of them are here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

OURS = "dmin"
DEVICE = "device-lbfgs"
REFERENCE = "hand-written"

PAIRS = 10
GRADIENT = 1e-5


def scipy_options(maxiter: int) -> dict[str, float]:
    """What every contender that drives SciPy's L-BFGS-B passes on."""
    return {"maxiter": maxiter, "maxcor": PAIRS, "gtol": GRADIENT, "ftol": 0.0}


@dataclass(frozen=True)
class Contender:
    """A library under the name the tables give it.

    `drives_scipy` says that its evaluations are SciPy's L-BFGS-B's, so that times per evaluation compare;
    the others search and stop by rules of their own, and only their times in all compare.
    """

    name: str
    load: Callable[[], Callable]
    drives_scipy: bool


class Counted:
    """An objective that counts its calls, for frameworks that call it at each evaluation; JAX and TensorFlow do not."""

    def __init__(self, fun: Callable):
        self.fun = fun
        self.calls = 0

    def __call__(self, leaves: Any) -> Any:
        """Evaluate and count."""
        self.calls += 1
        return self.fun(leaves)


def load_all(contenders: Iterable[Contender]) -> tuple[dict[str, Callable], dict[str, str]]:
    """Those that are installed, ready to run, and for each of the others why it is left out."""
    present, left_out = {}, {}
    for contender in contenders:
        try:
            present[contender.name] = contender.load()
        except ImportError as error:
            left_out[contender.name] = str(error)
    return present, left_out
