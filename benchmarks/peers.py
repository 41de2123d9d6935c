"""What each peer can do, found out by asking it: the table of README.md.

A row is a capability, and a try of it: a small problem whose answer is known, given to each peer in its own words
(`peer_adapters.py`). A try that ends in an error or at another point is a "no"; where a peer's interface has no words
for it, the cell is "–". This project is asked like the others; the tests that hold it to it stand beside the row.

    python benchmarks/peers.py           prints the table, the versions, and why each "no" is one
    python benchmarks/peers.py --write   puts it into README.md

The peers that are not installed are left out, and named; all of them, beside dmin's plugins, are `pip install botorch
dict-minimize jaxopt optax optimistix pytorch-minimize tensorflow-probability tf-keras`. Everything runs on the CPU, in
float64 where nothing else is said; six minutes on one core with other work beside it.
"""

import argparse
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import frameworks
import numpy as np
from peer_adapters import PEERS, NotOffered, Peer, Problem

README = Path(__file__).parents[1] / "README.md"
OPENING, CLOSING = "<!-- made by benchmarks/peers.py -->\n", "<!-- end of peers -->"
LONG = 200_000  # NumPy works on this project's shorter vectors of the CPU in place, by what is no copy there
NO, NOT_OFFERED = "no", "–"
METHODS = (
    *("Nelder-Mead", "Powell", "CG", "BFGS", "Newton-CG", "L-BFGS-B", "TNC", "COBYLA", "COBYQA", "SLSQP"),
    *("trust-constr", "dogleg", "trust-ncg", "trust-krylov", "trust-exact"),
)


class Wrong(Exception):
    """The peer ran, and what it gave is not what was asked for."""


def expect(found: Any, wanted: Any, tolerance: float = 1e-4) -> None:
    """Raise unless an array has these values."""
    values = np.asarray(found.detach() if hasattr(found, "detach") else found)
    if not np.allclose(values, wanted, rtol=0, atol=tolerance):
        raise Wrong(f"{values} for {np.asarray(wanted)}")


# The tries: each gives a cell, or raises -------------------------------------------------------------------


def whose_arrays(peer: Peer) -> str:
    """Arrays of each framework go in, and the answer is an array of the same."""

    def works(name: str) -> None:
        framework = frameworks.load(name)
        found = peer.solve(Problem(lambda x: framework.sum((x - 1) ** 2), framework.array([0.0, 3.0])))
        if not isinstance(found, framework.kind):
            raise Wrong(f"{type(found).__name__} for {framework.kind.__name__}")
        expect(found, [1.0, 1.0])

    names = {"numpy": "NumPy", "torch": "torch", "jax": "JAX", "tf": "TF"}
    working = [shown for name, shown in names.items() if why_not(lambda name=name: works(name)) is None]
    return "all four" if len(working) == len(names) else ", ".join(working)


def containers(framework: frameworks.Framework, first: Any, second: Any) -> dict[str, tuple[Any, Callable]]:
    """Two arrays in containers, the most general first, and how the two are found in each."""
    return {
        "any nest": ({"a": [first], "b": {"c": (second,)}}, lambda nest: (nest["a"][0], nest["b"]["c"][0])),
        "flat dict": (OrderedDict(a=first, b=second), lambda nest: (nest["a"], nest["b"])),
        "flat list": ([first, second], tuple),
    }


def solve_in(peer: Peer, container: str, dtype: str) -> None:
    """Two arrays of different shapes, in a container, and the second of this dtype, come back as they went in."""
    framework = frameworks.load(peer.framework)
    first, second = framework.array([[0.0, 0.0]]), framework.array([0.0, 0.0, 0.0], dtype=dtype)
    x0, parts = containers(framework, first, second)[container]

    def fun(nest):
        a, b = parts(nest)
        return framework.sum((a - 1) ** 2) + framework.sum((b - 2) ** 2)

    found = parts(peer.solve(Problem(fun, x0)))
    for array, start, wanted in zip(found, (first, second), (1.0, 2.0), strict=True):
        if array.dtype != start.dtype or tuple(array.shape) != tuple(start.shape):
            raise Wrong(f"{array.dtype}{tuple(array.shape)} for {start.dtype}{tuple(start.shape)}")
        expect(array, np.full(start.shape, wanted), 1e-3)


def container_of(peer: Peer, dtype: str = "float64") -> str | None:
    """The most general container in which the two come back."""
    names = ("any nest", "flat dict", "flat list")
    return next((each for each in names if why_not(lambda each=each: solve_in(peer, each, dtype)) is None), None)


def nest(peer: Peer) -> str:
    """What `x0` and the answer may be."""
    return container_of(peer) or "one array"


def dtypes(peer: Peer) -> str:
    """A leaf of float64 and one of float32 in one `x0`."""
    container = container_of(peer)
    if container is None:
        raise NotOffered("more arrays than one")
    solve_in(peer, container, "float32")
    return "yes"


def derivatives(peer: Peer) -> str:
    """The function gives its value alone: whether gradients, and Hessian products for trust-ncg, are found for it."""
    n = 50
    framework = frameworks.load(peer.framework)
    calls: list = []
    fun = framework.record(lambda x: framework.sum((x - 1) ** 2 + (x - 1) ** 4), calls)
    solve = peer.without_gradients or peer.solve
    start = framework.array([0.5] * n)
    expect(solve(Problem(fun, start)), np.ones(n), 1e-2)
    if len(calls) > n:  # differences take an evaluation for each variable
        return "finite diff."
    second = why_not(lambda: expect(solve(Problem(fun, start, method="trust-ncg")), np.ones(n), 1e-2))
    return "∇" if second else "∇ and Hv"


def methods(peer: Peer) -> str:
    """Each of SciPy's methods is asked for by its name, with nothing given but the function."""
    framework = frameworks.load(peer.framework)

    def fun(x):
        return framework.sum((x - 1) ** 2 + (x - 1) ** 4) + framework.sum(x - 1) ** 2

    def solve(method: str) -> None:
        start = framework.array([0.5, 2.0, 1.6, 0.9, 0.7])
        expect(peer.solve(Problem(fun, start, method=method)), np.ones(5), 1e-2)

    reasons = [why_not(lambda method=method: solve(method)) for method in METHODS]
    for method, reason in zip(METHODS, reasons, strict=True):
        if reason is not None and not isinstance(reason, NotOffered):
            print(f"  {method}: {in_words(reason)}", file=sys.stderr)
    if all(isinstance(reason, NotOffered) for reason in reasons):
        raise NotOffered("method")
    return f"{reasons.count(None)} of {len(METHODS)}"


def bounds(peer: Peer) -> str:
    """A minimum on its bounds, which no evaluation may cross."""
    framework = frameworks.load(peer.framework)
    calls: list = []
    fun = framework.record(lambda x: framework.sum((x - 1) ** 2 + x**4), calls)
    expect(peer.solve(Problem(fun, framework.array([-1.0, 0.2]), bounds=(-2.0, 0.3))), [0.3, 0.3], 1e-3)
    lowest, highest = np.min([x for x, _ in calls]), np.max([x for x, _ in calls])
    if lowest < -2 or highest > 0.3 + 1e-12:
        raise Wrong(f"evaluated from {lowest} to {highest}")
    return "yes"


def constraints(peer: Peer) -> str:
    """Nonlinear constraints of twenty values; differences would take twenty evaluations for each Jacobian."""
    n = 20
    framework = frameworks.load(peer.framework)
    calls: list = []

    def constraint(x):
        calls.append(x)
        return 1 - x**2

    problem = Problem(lambda x: framework.sum((x - 2) ** 2), framework.array([0.5] * n), constraint=constraint)
    expect(peer.solve(problem), np.ones(n), 1e-3)
    return "yes" if len(calls) < 20 * n else "finite diff."


def on_device(peer: Peer) -> str:
    """No evaluation has the host read a whole vector: counted in torch; a compiled run of JAX or TensorFlow cannot."""
    framework = frameworks.load(peer.framework)
    start = framework.array(np.full(LONG, 0.5))
    method = "device-lbfgs" if peer.name == "dmin" else None
    problem = Problem(lambda x: framework.sum((x - 1) ** 2 + (x - 1) ** 4), start, method=method)
    if peer.framework == "numpy":
        raise NotOffered("a device")
    if peer.framework == "torch":
        solve_unread(peer, problem)
    elif peer.framework == "jax":
        import jax

        expect(jax.jit(lambda x: peer.solve(Problem(problem.fun, x)))(start), np.ones(LONG), 1e-3)
    else:
        import tensorflow as tf

        expect(tf.function(lambda x: peer.solve(Problem(problem.fun, x)))(start), np.ones(LONG), 1e-3)
    return "yes"


def solve_unread(peer: Peer, problem: Problem) -> None:
    """Solve it, and raise if the host read more than a run needs to begin and to report: x0, x and the gradient."""
    from torch.overrides import TorchFunctionMode

    reads = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            name = getattr(func, "__name__", "")
            if name in {"numpy", "__array__", "tolist", "cpu", "__dlpack__"} and args[0].numel() >= LONG:
                reads.append(name)
            return func(*args, **(kwargs or {}))

    with Watch():
        found = peer.solve(problem)
    if len(reads) > 3:
        raise Wrong(f"{len(reads)} vectors read by the host")
    expect(found, np.ones(LONG), 1e-3)


def not_a_number(peer: Peer) -> str:
    """Steps that lead to where the value is NaN; from a start where one does, the minimum is to be found."""
    framework = frameworks.load(peer.framework)
    calls: list = []
    fun = framework.record(lambda x: framework.sum(3 * x - framework.log(x)), calls)
    starts = 0
    for start in (0.6, 0.9, 2.0, 4.0, 8.0, 20.0):
        calls.clear()
        found = peer.solve(Problem(fun, framework.array([start])))
        if any(np.isnan(value) for _, value in calls):
            starts += 1
            expect(found, [1 / 3], 1e-3)
    if not starts:
        raise NotOffered("no step led there")
    return "yes"


CHILD = """
import os, signal, sys
import torch
from dmin_core import minimize

def fun(x):
    with open(sys.argv[2], "a") as log:
        log.write("x")
    if os.path.getsize(sys.argv[2]) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

result = minimize(fun, torch.zeros(4, dtype=torch.float64), method="L-BFGS-B", checkpoint=sys.argv[1])
print(result.x.numpy().tobytes().hex())
"""


def resume(peer: Peer) -> str:
    """By itself: killed, and called again. By hand: its state saved and loaded half-way, to the same point."""
    if peer.name == "dmin":
        return resumes_by_itself()
    if peer.steps is None:
        raise NotOffered("a state to save")
    framework = frameworks.load(peer.framework)

    def rosenbrock(x):
        return framework.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)

    start = framework.array([0.0, 0.0, 0.0, 0.0])
    whole, _ = peer.steps(rosenbrock, start, 10, None)
    _, saved = peer.steps(rosenbrock, start, 5, None)
    again, _ = peer.steps(rosenbrock, start, 5, pickle.loads(pickle.dumps(saved)))
    expect(again, np.asarray(whole.detach() if hasattr(whole, "detach") else whole), 0.0)
    return "by hand"


def resumes_by_itself() -> str:
    """Whether the answer is the same bit for bit, and no evaluation was made twice but the one that was killed."""
    with tempfile.TemporaryDirectory() as home:

        def run(name: str, log: str, dies_at: int) -> subprocess.CompletedProcess:
            files = [str(Path(home, name)), str(Path(home, log)), str(dies_at)]
            return subprocess.run([sys.executable, "-c", CHILD, *files], capture_output=True, text=True, check=False)

        killed, again, whole = run("a", "a.log", 12), run("a", "a.log", -1), run("b", "b.log", -1)
        evaluations = [Path(home, log).stat().st_size for log in ("a.log", "b.log")]
    if killed.returncode != -signal.SIGKILL or again.returncode or whole.returncode:
        raise Wrong(again.stderr[-300:])
    if again.stdout != whole.stdout or evaluations[0] != evaluations[1] + 1:
        raise Wrong(f"{evaluations} evaluations")
    return "by itself"


ROWS: tuple[tuple[str, Callable[[Peer], str], str], ...] = (
    ("Arrays of NumPy, torch, JAX, TF", whose_arrays, "tests/test_matrix.py"),
    ("`x0` is", nest, "tests/test_tree.py"),
    ("Two dtypes in one `x0`", dtypes, "tests/test_minimize.py"),
    ("Derivatives of a plain function", derivatives, "tests/test_second_order.py"),
    ("SciPy's methods, no Hessian written", methods, "tests/test_matrix.py"),
    ("Bounds that no evaluation crosses", bounds, "tests/solvers/test_scipy.py"),
    ("Constraints, Jacobian by the framework", constraints, "tests/test_constrained.py"),
    ("Vectors stay on the device", on_device, "tests/solvers/device/test_lbfgs.py"),
    ("Recovers where a step meets NaN", not_a_number, "tests/test_failures.py"),
    ("Goes on after being killed", resume, "tests/test_checkpoint.py"),
)
"""A capability, its try, and the tests that hold this project to it for all methods and frameworks."""


# The table ---------------------------------------------------------------------------------------------------


def why_not(attempt: Callable[[], Any]) -> BaseException | None:
    """What went wrong with an attempt; None where nothing did."""
    try:
        attempt()
    except Exception as error:  # noqa: BLE001 - whatever a peer raises, it did not do what was asked
        return error
    return None


def in_words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:160]


def cell(attempt: Callable[[Peer], str], peer: Peer) -> tuple[str, str]:
    """A cell, and in words why it is no plain yes."""
    try:
        return attempt(peer), ""
    except NotOffered as reason:
        return NOT_OFFERED, f"nothing to ask for: {reason}"
    except Exception as error:  # noqa: BLE001 - likewise
        return NO, in_words(error)


def present(names: list[str]) -> Iterator[Peer]:
    """The peers that are asked for and installed; the others are named."""
    for peer in PEERS:
        if names and peer.name not in names:
            continue
        try:
            version(peer.distribution)
            frameworks.load(peer.framework)
        except (ImportError, PackageNotFoundError) as error:
            print(f"left out: {peer.name}: {error}", file=sys.stderr)
            continue
        yield peer


def table(peers: list[Peer]) -> str:
    """The table in Markdown; why a cell is what it is goes to stderr."""
    lines = [f"| | {' | '.join(peer.name for peer in peers)} |", f"|---{'|---' * len(peers)}|"]
    for what, attempt, tests in ROWS:
        cells = []
        for peer in peers:
            found, why = cell(attempt, peer)
            print(f"{what}: {peer.name}: {found}{f' ({why})' if why else ''}", file=sys.stderr, flush=True)
            cells.append(f"[{found}]({tests})" if peer.name == "dmin" else found)
        lines.append(f"| {what} | {' | '.join(cells)} |")
    versions = ", ".join(f"{peer.name} {version(peer.distribution)}" for peer in peers if peer.name != "dmin")
    return "\n".join(lines) + f"\n\nTried with {versions}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("peers", nargs="*", help="names as in the table; all by default")
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    given = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    made = table(list(present(given.peers)))
    print(made)
    if given.write:
        before, opening, rest = README.read_text("utf-8").partition(OPENING)
        _, closing, after = rest.partition(CLOSING)
        if not opening or not closing:
            raise SystemExit(f"README.md has no place between {OPENING.strip()} and {CLOSING}")
        README.write_text(f"{before}{opening}{made}{closing}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
