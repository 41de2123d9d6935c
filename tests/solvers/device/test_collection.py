"""On problems with known answers a method on the device is at least as good as the one of SciPy's it stands in for."""

import functools
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the collection's gradients are PyTorch's")

from dmin_core import minimize  # noqa: E402 - after the skip

# By its path: tests are no package here.
_spec = importlib.util.spec_from_file_location("collection", Path(__file__).with_name("collection.py"))
collection = importlib.util.module_from_spec(_spec)
sys.modules["collection"] = collection  # where dataclasses look for their module
_spec.loader.exec_module(collection)
PROBLEMS = collection.PROBLEMS

LIMITED = {"maxiter": 3000, "maxfun": 6000, "gtol": 1e-6}
OPTIONS = {
    "L-BFGS-B": {**LIMITED, "ftol": 1e-12},
    "device-lbfgs": {**LIMITED, "ftol": 1e-12},
    "BFGS": LIMITED,
    "device-bfgs": LIMITED,
    "trust-krylov": LIMITED,
    "device-newton-cg": LIMITED,
}
PAIRS = [("device-lbfgs", "L-BFGS-B"), ("device-bfgs", "BFGS")]
SOLVING = [*PAIRS, ("device-newton-cg", "trust-krylov")]
DENSE = 100
"""Variables up to which methods with a matrix are run: SciPy's BFGS multiplies three of them at each iteration."""
SOLVED = 1e-6
"""Of the way from the start's value to the least one: what may be left."""


@functools.cache
def outcomes(method):
    """For each problem the value reached, evaluations until it was solved (inf where it is not) and in all."""
    found = {}
    for problem in PROBLEMS:
        if method in ("BFGS", "device-bfgs") and problem.n > DENSE:
            continue
        history = minimize(problem.fun, torch.tensor(problem.start), method=method, options=OPTIONS[method]).history
        below = history.fun <= problem.target(history.fun[0], history.fun.min(), SOLVED)
        found[problem.name] = history.fun.min(), np.argmax(below) + 1 if below.any() else np.inf, len(history)
    return found


def solved(method):
    return {name for name, (_, first, _) in outcomes(method).items() if first < np.inf}


def test_there_are_sixty_of_many_sizes():
    assert len({problem.name for problem in PROBLEMS}) == len(PROBLEMS) >= 60
    assert {2, 1000} <= {problem.n for problem in PROBLEMS}


@pytest.mark.parametrize("method", OPTIONS)
def test_no_method_goes_below_the_least_value(method):
    for problem in PROBLEMS:
        value = outcomes(method).get(problem.name, (np.inf,))[0]
        assert value >= min(problem.least) - 1e-5 * max(abs(min(problem.least)), 1e-9), problem.name


@pytest.mark.parametrize(("ours", "theirs"), SOLVING)
def test_at_least_as_many_are_solved(ours, theirs):
    assert len(outcomes(ours)) >= 60
    assert len(solved(ours)) >= len(solved(theirs)) >= 60


@pytest.mark.parametrize("column", [1, 2], ids=["until solved", "in all"])
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_in_no_more_evaluations(ours, theirs, column):
    """By the geometric mean over what both solve."""
    both = solved(ours) & solved(theirs)
    ratios = [outcomes(ours)[name][column] / outcomes(theirs)[name][column] for name in both]
    assert np.exp(np.mean(np.log(ratios))) <= 1.0


def test_newtons_method_takes_many_fewer_evaluations_than_lbfgs():
    """By the geometric mean over what both solve, in all; its products come on top."""
    both = solved("device-newton-cg") & solved("device-lbfgs")
    ratios = [outcomes("device-newton-cg")[name][2] / outcomes("device-lbfgs")[name][2] for name in both]
    assert np.exp(np.mean(np.log(ratios))) <= 0.6
