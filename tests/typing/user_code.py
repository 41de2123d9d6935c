"""What users write, for mypy and pyright to check as they would (`nox -s types`); and it runs, in tests/test_typing.py.

The nest's type goes through: what `x0` is, ``result.x`` is. `assert_type` says where, and ``type: ignore`` what must be
refused: an ignore that is not needed is an error too.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from dmin_core import (
    Bounds,
    Interrupted,
    NonlinearConstraint,
    Result,
    array_namespace,
    backend_of,
    backends,
    get_backend,
    methods,
    minimize,
    with_backend,
)

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value, kind):
        return value


Vector = npt.NDArray[np.float64]


def dictionary() -> None:
    x0: dict[str, Vector] = {"w": np.zeros(3)}
    result = minimize(lambda p: np.sum((p["w"] - 1) ** 2), x0)
    assert_type(result, Result[dict[str, Vector]])
    assert_type(result.x, dict[str, Vector])
    assert_type(result.fun, float)
    assert_type(result.success, bool)
    assert_type(result.message, str)
    assert_type(result.nfev, int)
    assert_type(result.time, dict[str, float])
    wrong: int = result.x  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    del wrong


def single_array() -> None:
    x0: Vector = np.zeros(3)
    result = minimize(lambda x: np.sum((x - 1) ** 2), x0, bounds=(0, None), tol=1e-9)
    assert_type(result.x, Vector)
    assert_type(minimize(lambda x: np.sum(x**2), x0, bounds=Bounds(-1, 1), options={"maxfun": 30}).x, Vector)


@dataclass
class Line:
    slope: Vector
    height: Vector


class Pair(NamedTuple):
    a: Vector
    b: Vector


def containers() -> None:
    line = minimize(lambda p: np.sum((p.slope - p.height) ** 2), Line(np.ones(2), np.zeros(2)))
    assert_type(line.x, Line)
    assert_type(line.x.slope, Vector)
    pair = minimize(lambda p: np.sum((p.a - p.b) ** 2), Pair(np.ones(2), np.zeros(2)), frozen="b")
    assert_type(pair.x, Pair)
    some: list[Vector] = [np.ones(2), np.zeros(1)]
    assert_type(minimize(lambda p: np.sum(p[0] ** 2) + p[1][0] ** 2, some).x, list[Vector])


def arguments() -> None:
    x0: dict[str, Vector] = {"w": np.ones(2)}

    def fun(p: dict[str, Vector], shift: float) -> float:
        return float(np.sum((p["w"] - shift) ** 2))

    def jac(p: dict[str, Vector], shift: float) -> dict[str, Vector]:
        return {"w": 2 * (p["w"] - shift)}

    def watch(intermediate_result: Any) -> None:
        if intermediate_result.fun < 1e-3:
            raise StopIteration

    result = minimize(fun, x0, args=(2.0,), method="BFGS", jac=jac, callback=watch, options={"maxtime": 10})
    assert_type(result, Result[dict[str, Vector]])
    limit = NonlinearConstraint(lambda p: np.sum(p["w"]), 1, None)
    assert_type(minimize(fun, x0, (0.5,), constraints=limit).x, dict[str, Vector])
    both = minimize(lambda p: (np.sum(p["w"] ** 2), {"norm": p["w"]}), x0, has_aux=True)
    assert_type(both.x, dict[str, Vector])
    minimize(fun, x0, (0.5,), method=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def bound_to_a_backend() -> None:
    numpy_minimize = with_backend("numpy")
    x0: dict[str, Vector] = {"w": np.zeros(3)}
    result = numpy_minimize(lambda p: np.sum((p["w"] - 1) ** 2), x0, method="L-BFGS-B", frozen=None)
    assert_type(result, Result[dict[str, Vector]])
    numpy_minimize(lambda p: 0.0, x0, backend="torch")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def around_a_run() -> None:
    try:
        minimize(lambda x: x**2, 1.0)
    except Interrupted as stopped:
        assert_type(stopped.result, Result[Any])
    assert_type(backend_of(np.zeros(2)), str)
    assert_type(get_backend("numpy").exact_gradient, bool)
    assert_type([method.bounds for method in methods().values()], list[bool])
    assert_type([each.distribution for each in backends().values()], list[str])
    array_namespace(np.zeros(2)).sum(np.zeros(2))


if __name__ == "__main__":
    dictionary()
    single_array()
    containers()
    around_a_run()
