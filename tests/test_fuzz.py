"""Calls of `minimize` made up at random: the outcome is a valid result or an error of dmin's that names the cause.

Never another exception, a hang, or a changed input. What is drawn: nests, leaves, dtypes, objectives that misbehave,
forms of derivatives and bounds, methods, options, callbacks, limits; and of all that also what is wrong. The same cases
every time (``derandomize``); ``nox -s soak`` draws many more.
"""

import contextlib
import copy
import dataclasses
import faulthandler
import math
import signal
import tempfile
import threading
import warnings
from collections import OrderedDict, deque, namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import optree
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from dmin_core import Bounds, DminError, NonlinearConstraint, Result, backends, get_backend, minimize
from dmin_core.solvers import SCIPY_METHODS

USABLE = [name for name, info in backends().items() if info.error is None and info.devices]
MAXFUN = 40
SECONDS = 30
"""After which a case counts as hung."""

Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Fields:
    """A dataclass with a field that is no variable."""

    weights: Any
    name: str
    rest: Any


class Mishap(Exception):
    """What a user's function raises."""


class Hung(BaseException):
    """The case took too long. A BaseException, so that nothing takes it for a failed evaluation."""


@contextlib.contextmanager
def watchdog():
    """Raise `Hung` in a case that runs on in Python, and end the process where it runs on in compiled code."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_):
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    faulthandler.dump_traceback_later(4 * SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# What is drawn: nests -------------------------------------------------------------------------------------

numbers = st.sampled_from([0.0, -0.0, 1.0, -1.5, 0.3, 7.0, 1e-8, -1e3, 12345.678])
shapes = st.sampled_from([(), (), (1,), (2,), (3,), (2, 2), (1, 3), (0,)])
DTYPES = ["float64", "float64", "float32", "float16", "longdouble"]


@st.composite
def arrays(draw, dtypes=DTYPES):
    """A floating array of few numbers."""
    shape = draw(shapes)
    values = draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape)))
    return np.array(values, dtype=float).reshape(shape).astype(draw(st.sampled_from(dtypes)))


def leaves(dtypes=DTYPES):
    """Variables mostly, and what rides along."""
    variable = arrays(dtypes)
    riding = st.sampled_from([None, "note", True])
    return st.one_of(variable, variable, variable, numbers, numbers.map(np.float64), riding)


def nests(leaf):
    """Any container of any containers of leaves."""
    keys = st.sampled_from(["a", "b", "layer", "x y", "it's", 0, 1, (1, "t")])

    def containers(inner):
        few = st.lists(inner, min_size=1, max_size=3)
        return st.one_of(
            st.dictionaries(keys, inner, min_size=1, max_size=3),
            st.dictionaries(keys, inner, min_size=1, max_size=3).map(OrderedDict),
            few,
            few.map(tuple),
            few.map(deque),
            st.builds(Pair, inner, inner),
            st.builds(Fields, inner, st.just("n"), inner),
        )

    return st.recursive(leaf, containers, max_leaves=5)


def variables(nest):
    """The leaves of a nest that are optimised, by the rules that the documentation gives."""
    found = optree.tree_leaves(nest, none_is_leaf=True, namespace="dmin")
    return [leaf for leaf in found if isinstance(leaf, float) or hasattr(leaf, "dtype")]


# What is drawn: objectives --------------------------------------------------------------------------------


def square(v):
    return np.sum((v - 0.5) ** 2), 2.0 * (v - 0.5)


def steep(v):
    return np.sum(np.cosh(v)), np.sinh(v)


def kinked(v):
    return np.sum(np.abs(v - 1.0)), np.sign(v - 1.0)


def falling(v):
    return -np.sum(v), -np.ones_like(v)


def cubic(v):
    return np.sum(v**3), 3.0 * v**2


def flat(v):
    return np.sum(0.0 * v), 0.0 * v


def logarithm(v):
    return -np.sum(np.log(v + 2.0)) + np.sum(v), 1.0 - 1.0 / (v + 2.0)


def saddle(v):
    return np.sum(v**4 - 2.0 * v**2), 4.0 * v**3 - 4.0 * v


PARTS = [square, steep, kinked, falling, cubic, flat, logarithm, saddle]
MISDEEDS = ["raise", "nan", "inf", "-inf", "None", "array", "string", "complex", "write", "interrupt"]


class Objective:
    """A sum over the leaves; counts its calls, and misbehaves at one of them if it is to."""

    def __init__(self, part, misdeed=None, at=0, pair=False):
        self.part, self.misdeed, self.at, self.pair = part, misdeed, at, pair
        self.calls = 0
        self.misbehaved = False

    def __repr__(self):
        return f"Objective({self.part.__name__}, {self.misdeed!r}, {self.at}, {self.pair})"

    def value(self, nest):
        """The value alone, as a well-behaved function would give it."""
        with np.errstate(all="ignore"):
            total = 0.0
            for leaf in variables(nest):
                total = total + self.part(np.asarray(leaf))[0]
        return total

    def gradient(self, nest, *args):
        """The gradient, nested as x0 is."""
        with np.errstate(all="ignore"):
            return optree.tree_map(
                lambda leaf: (
                    self.part(np.asarray(leaf))[1] if isinstance(leaf, float) or hasattr(leaf, "dtype") else leaf
                ),
                nest,
                none_is_leaf=True,
                namespace="dmin",
            )

    def hessian(self, nest, *args):
        """By differences of the gradient, over the leaves that are variables; wrong where some are frozen."""
        x = np.concatenate([np.ravel(leaf) for leaf in variables(nest)] or [np.zeros(0)]).astype(float)
        with np.errstate(all="ignore"):
            return np.diag((self.part(x + 1e-4)[1] - self.part(x - 1e-4)[1]) / 2e-4)

    def product(self, nest, direction, *args):
        """The same, times a nest."""
        with np.errstate(all="ignore"):
            return optree.tree_map(
                lambda x, v: 2.0 * v if isinstance(x, float) or hasattr(x, "dtype") else x,
                nest,
                direction,
                none_is_leaf=True,
                namespace="dmin",
            )

    def __call__(self, nest, *args):
        """The value, or the pair for jac=True."""
        self.calls += 1
        value = self.value(nest)
        if self.misdeed is not None and self.calls == self.at:
            self.misbehaved = True
            value = self.misbehave(nest)
        return (value, self.gradient(nest)) if self.pair else value

    def misbehave(self, nest):
        """What it does instead."""
        if self.misdeed == "raise":
            raise Mishap
        if self.misdeed == "interrupt":
            raise KeyboardInterrupt
        if self.misdeed == "write":
            for leaf in variables(nest):
                if isinstance(leaf, np.ndarray) and leaf.flags.writeable:
                    leaf[...] = 99.0
            return 1e6
        strange = {"None": None, "array": np.ones(2), "string": "low", "complex": 1j}
        return strange[self.misdeed] if self.misdeed in strange else float(self.misdeed)


class Callback:
    """Any of the forms; raises, stops, or writes into what it gets, if it is to."""

    def __init__(self, deed, at):
        self.deed, self.at, self.calls = deed, at, 0

    def __repr__(self):
        return f"Callback({self.deed!r}, {self.at})"

    def act(self, x):
        self.calls += 1
        if self.calls < self.at:
            return
        if self.deed == "stop":
            raise StopIteration
        if self.deed == "raise":
            raise Mishap
        if self.deed == "write":
            for leaf in variables(x):
                if isinstance(leaf, np.ndarray) and leaf.flags.writeable:
                    leaf[...] = 99.0

    def by_name(self, intermediate_result):
        self.act(intermediate_result.x)

    def by_x(self, xk):
        self.act(xk)


# What is drawn: calls -------------------------------------------------------------------------------------

OPTIONS = {
    **{"maxiter": st.integers(1, 20), "gtol": st.sampled_from([0.0, 1e-5, 1e2]), "ftol": st.sampled_from([0.0, 1e-9])},
    **{"xtol": st.sampled_from([0.0, 1e-8]), "disp": st.just(False), "maxtime": st.sampled_from([0, 10.0])},
    **{"eps": st.sampled_from([1e-6, 1e-3]), "finite_diff_rel_step": st.sampled_from([1e-7, 1e-4])},
    **{"maxcor": st.integers(1, 5), "maxls": st.integers(1, 5), "return_all": st.booleans(), "xatol": st.just(1e-3)},
    **{
        "initial_trust_radius": st.sampled_from([0.1, 2.0]),
        "rhobeg": st.sampled_from([0.1, 2.0]),
        "adaptive": st.booleans(),
    },
}


@st.composite
def bounds_for(draw, x0):
    """Bounds in one of their forms, x0 within or not."""
    side = st.sampled_from([None, -2000.0, -1.0, 0.0, -np.inf])
    other = st.sampled_from([None, 2000.0, 1.0, 20000.0, np.inf])
    form = draw(st.sampled_from(["pair", "Bounds", "keep", "nest", "dict", "same", "array"]))
    if form == "pair":
        return draw(side), draw(other)
    if form == "same":
        return 0.5, 0.5
    if form in ("Bounds", "keep"):
        return Bounds(draw(st.sampled_from([-2000.0, 0.0])), draw(st.sampled_from([2000.0, 1.0])), form == "keep")
    if form == "dict" and isinstance(x0, dict):
        chosen = draw(st.lists(st.sampled_from(list(x0)), unique=True))
        return {key: draw(st.one_of(st.none(), st.tuples(side, other))) for key in chosen}

    def of(leaf, value):
        return np.full(np.shape(leaf), value) if form == "array" and hasattr(leaf, "dtype") else value

    lowest, highest = draw(st.sampled_from([-2000.0, -1.0])), draw(st.sampled_from([1.0, 2e4]))
    return tuple(
        optree.tree_map(lambda leaf, v=v: of(leaf, v), x0, none_is_leaf=True, namespace="dmin")
        for v in (lowest, highest)
    )


def size(nest, *args):
    """The sum of squares."""
    with np.errstate(all="ignore"):
        return sum((np.sum(np.asarray(leaf, dtype=float) ** 2) for leaf in variables(nest)), 0.0)


def broken(nest, *args):
    """A constraint that cannot be computed far from zero."""
    return {"in a nest": np.array([size(nest), np.nan if size(nest) > 4.0 else 1.0])}


CONSTRAINTS = [
    NonlinearConstraint(size, -np.inf, 1e9),
    NonlinearConstraint(size, 0.5, 2.0),
    NonlinearConstraint(broken, -1.0, 5.0),
    {"type": "ineq", "fun": size},
    [{"type": "eq", "fun": lambda nest: size(nest) - 1.0}, NonlinearConstraint(size, 0.0, 3.0, jac="3-point")],
]


@st.composite
def calls(draw, dtypes=DTYPES, misdeeds=MISDEEDS):
    """Arguments of `minimize` that are right, around an objective that may not be."""
    x0 = draw(nests(leaves(dtypes)))
    method = draw(st.sampled_from([None, *SCIPY_METHODS]))
    ability = SCIPY_METHODS.get(method or "L-BFGS-B")
    misdeed = draw(st.sampled_from([None, None, None, *misdeeds]))
    fun = Objective(draw(st.sampled_from(PARTS)), misdeed, draw(st.integers(1, 12)))
    named = {"method": method}
    jac = draw(st.sampled_from([None, None, True, "callable", "2-point", "3-point", "cs"]))
    if jac is True:
        fun.pair = True
    if jac is not None:
        named["jac"] = fun.gradient if jac == "callable" else jac
    if ability.get("hess") and draw(st.booleans()):
        which = draw(st.sampled_from(["hess", "hessp"] if ability.get("hessp") else ["hess"]))
        named[which] = fun.hessian if which == "hess" else fun.product
    if draw(st.sampled_from([False, False, False, True])):
        named["frozen"] = draw(st.sampled_from(["*", "a*", "*layer*", {"a": True}, False, True]))
    if draw(st.booleans()) and ability.get("bounds"):
        named["bounds"] = draw(bounds_for(x0))
    if ability.get("constraints") and draw(st.booleans()):
        named["constraints"] = draw(st.sampled_from(CONSTRAINTS))
    known = {*ability["options"], "disp", "maxtime"}
    chosen = draw(st.lists(st.sampled_from([name for name in OPTIONS if name in known]), unique=True, max_size=3))
    named["options"] = {"maxfun": draw(st.integers(1, MAXFUN)), **{name: draw(OPTIONS[name]) for name in chosen}}
    if draw(st.booleans()):
        callback = Callback(draw(st.sampled_from(["look", "stop", "raise", "write"])), draw(st.integers(1, 4)))
        named["callback"] = draw(st.sampled_from([callback.by_name, callback.by_x]))
    if draw(st.booleans()):
        named["tol"] = draw(st.sampled_from([1e-3, 1e-8, 0.0]))
    if draw(st.booleans()):
        named["args"] = draw(st.sampled_from([(), 2.0, (1, "two", None), (np.ones(3),)]))
    return fun, x0, named


WRONG = {
    "method": ["l-bfgs", "", 3, b"BFGS", ["BFGS"]],
    "jac": ["4-point", 1.5, {}, [1]],
    "hess": ["1-point", 3, "cs"],
    "hessp": [3, "2-point"],
    "bounds": [
        1,
        "low",
        (1,),
        (1, 2, 3),
        {"no such": (0, 1)},
        (2, 1),
        (np.nan, 1),
        [(0, 1)] * 50,
        ("a", "b"),
        {1.5: 2},
    ],
    "constraints": [3, "x", {"type": "eq"}, [None]],
    "tol": ["small", [1e-3], 1j, np.nan],
    "callback": [3, "print", [print]],
    "options": [3, [("maxiter", 2)], {"maxfun": 0}, {"maxfun": "many"}, {"maxtime": -1}, {"no such": 1}, {3: 4}],
    "args": [],
    "backend": ["nump", "", 3],
    "compile": ["yes", 2],
    "frozen": [3, "no such*", {"no such": True}],
    "has_aux": ["yes"],
    "progress": ["yes"],
    "checkpoint": [3, ".", b"x"],
}
STRANGE_OPTIONS = {
    **{
        name: [-1, 0, "1", None, 1e400, -np.inf, np.nan, [1, 2], 1.5]
        for name in ("maxiter", "gtol", "ftol", "xtol", "maxcor")
    },
    **{name: [-1, 0, "1", None, np.nan, 1.5] for name in ("maxls", "eps", "initial_trust_radius", "rhobeg", "xatol")},
    **{name: ["yes", None, 3, []] for name in ("return_all", "adaptive", "disp")},
}
STRANGE_X0 = [
    None,
    "text",
    3,
    [],
    {},
    np.ones(2, dtype=int),
    np.ones(2, dtype=complex),
    object(),
    [1.0, "a", 2],
    {"a": 1j},
]
STRANGE_X0 += [
    np.array([1.0, np.nan]),
    np.array(np.inf),
    float("nan"),
    np.ma.array([1.0]),
    np.array(["a"]),
    {"a": {1.0, 2.0}},
]
STRANGE_X0 += [np.ones((0, 3)), Fields, lambda x: x, range(3), np.array([1.0, None]), [[[]]], b"bytes", 1 << 80]


@st.composite
def wrong_calls(draw):
    """The same with something wrong in them."""
    fun, x0, named = draw(calls())
    for _ in range(draw(st.integers(1, 2))):
        what = draw(st.sampled_from(["argument", "argument", "option", "x0", "fun"]))
        if what == "argument":
            name = draw(st.sampled_from([name for name in WRONG if WRONG[name]]))
            named[name] = draw(st.sampled_from(WRONG[name]))
        elif what == "option" and isinstance(named.get("options"), dict):
            name = draw(st.sampled_from(list(STRANGE_OPTIONS)))
            named["options"] = {**named["options"], name: draw(st.sampled_from(STRANGE_OPTIONS[name]))}
        elif what == "x0":
            x0 = draw(st.sampled_from(STRANGE_X0))
        else:
            fun = draw(st.sampled_from([None, 3, "fun", lambda: 1.0, lambda x: x, lambda x, y, z: 1.0]))
    return fun, x0, named


# What must hold -------------------------------------------------------------------------------------------


def snapshot(value):
    """What an input holds, deeply."""
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        return ("array", value.dtype.str, value.shape, value.tobytes(), value.flags.writeable)
    if isinstance(value, Bounds):
        return ("Bounds", snapshot(np.asarray(value.lb)), snapshot(np.asarray(value.ub)))
    if isinstance(value, dict):
        return (type(value), [(key, snapshot(item)) for key, item in value.items()])
    if isinstance(value, list | tuple | deque):
        return (type(value), [snapshot(item) for item in value])
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return (type(value), [snapshot(getattr(value, field.name)) for field in dataclasses.fields(value)])
    return repr(value) if isinstance(value, int | float | str | bytes | type(None)) else type(value)


def check_outcome(fun, x0, named):
    """Run the call and hold the outcome against what is promised."""
    inputs = snapshot([x0, named])
    with warnings.catch_warnings(), watchdog():
        warnings.simplefilter("ignore")
        try:
            result = minimize(fun, x0, **named)
        except DminError as error:
            result = None
            if len(str(error)) < 15:
                pytest.fail(f"says too little: {error!r}")
        except Mishap:
            result = None
        except TypeError as error:
            # The user's own: `fun` does not take what it is called with.
            if isinstance(fun, Objective) or "argument" not in str(error):
                raise
            result = None
        except KeyboardInterrupt as interrupt:
            assert fun.misdeed == "interrupt"
            result = interrupt.result
        except Hung:
            pytest.fail("hung")
    assert snapshot([x0, named]) == inputs
    if result is not None:
        check_result(result, fun, x0, named)


def check_result(result, fun, x0, named):
    assert isinstance(result, Result)
    same = optree.tree_structure(x0, none_is_leaf=True, namespace="dmin")
    assert optree.tree_structure(result.x, none_is_leaf=True, namespace="dmin") == same
    before = optree.tree_leaves(x0, none_is_leaf=True, namespace="dmin")
    after = optree.tree_leaves(result.x, none_is_leaf=True, namespace="dmin")
    for old, new in zip(before, after, strict=True):
        if isinstance(old, np.ndarray | np.generic):
            assert (type(new), new.dtype, new.shape) == (type(old), old.dtype, old.shape)
            assert new is not old or isinstance(old, np.generic) or "frozen" in named
            assert np.isfinite(new).all()
        elif isinstance(old, float):
            assert isinstance(new, float)
        else:
            assert new is old
    assert result.nfev >= 0
    assert min(result.njev, result.nhev) >= 0
    assert result.nit >= -1
    assert result.nfev <= (named.get("options") or {}).get("maxfun", math.inf)
    assert isinstance(result.message, str)
    assert isinstance(result.success, bool)
    repr(result)
    if isinstance(fun, Objective):
        assert result.nfev == fun.calls
        check_value(result, fun, bounded="bounds" in named or "constraints" in named)


def check_value(result, fun, bounded):
    """The value belongs to the point, and no finite one that the method evaluated there was better."""
    if math.isnan(result.fun):
        assert not np.isfinite(result.history.fun).any()
        assert not result.success
        return
    assert math.isfinite(result.fun)
    if fun.misdeed != "write":
        assert float(fun.value(result.x)) == result.fun or (fun.misbehaved and result.fun in result.history.fun)
    if not (bounded and result.method in ("COBYLA", "COBYQA", "SLSQP", "trust-constr")):  # a lower one may lie outside
        finite = result.history.fun[np.isfinite(result.history.fun)]
        assert result.fun <= finite.min()


QUIET = {
    **{"deadline": None, "database": None, "suppress_health_check": list(HealthCheck), "print_blob": False},
}


@pytest.mark.once
@settings(max_examples=1400, derandomize=True, **QUIET)
@given(calls())
def test_a_call_ends_in_a_valid_result_or_an_error_of_dmins(call):
    check_outcome(*call)


@pytest.mark.once
@settings(max_examples=800, derandomize=True, **QUIET)
@given(wrong_calls())
def test_a_wrong_call_ends_in_an_error_of_dmins_or_does_no_harm(call):
    check_outcome(*call)


def outcome(fun, x0, named):
    """What a run came to, as far as another must come to the same; and how many evaluations it made."""
    made = copy.deepcopy(fun)
    with warnings.catch_warnings(), watchdog():
        warnings.simplefilter("ignore")
        try:
            result = minimize(made, x0, **named)
        except (DminError, Mishap) as error:
            return (type(error), str(error)), made.calls
    flat = [np.asarray(leaf, dtype=float).tobytes() for leaf in variables(result.x)]
    history = [result.history[name].tobytes() for name in ("evaluation", "fun", "grad_norm")]
    return (flat, np.float64(result.fun).tobytes(), result.nfev, result.nit, result.message, history), made.calls


@pytest.mark.once
@settings(max_examples=200, derandomize=True, **QUIET)
@given(calls(misdeeds=["nan", "inf"]), st.floats(0.0, 1.0))
def test_a_run_that_is_cut_off_anywhere_comes_to_the_same(call, fraction):
    fun, x0, named = call
    named["options"].pop("maxtime", None)
    named.pop("callback", None)
    named = {
        name: value for name, value in named.items() if not hasattr(value, "__self__")
    }  # which would not be copied
    if fun.pair != (named.get("jac") is True):
        return
    expected, calls_made = outcome(fun, x0, named)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "run.dmin")
        assert outcome(fun, x0, {**named, "checkpoint": path}) == (expected, calls_made)
        if not path.exists():  # it was refused at the door
            return
        whole = path.read_bytes()
        assert outcome(fun, x0, {**named, "checkpoint": path}) == (expected, 0)
        if fun.misdeed is None:  # which counts calls, and a run that goes on makes fewer
            path.write_bytes(whole[: int(len(whole) * fraction)])
            assert outcome(fun, x0, {**named, "checkpoint": path})[0] == expected


# Other frameworks -----------------------------------------------------------------------------------------


@st.composite
def framework_calls(draw, name):
    """Few structures, so that what a framework compiles is compiled once; everything else as above."""
    host = get_backend(name)
    xp = host.namespace(host.from_numpy(np.zeros(1), None))
    dtype = draw(st.sampled_from(["float32", "float64"]))

    def array(values):
        return host.from_numpy(np.array(values, dtype=dtype), None)

    x0 = draw(
        st.sampled_from(
            [
                {"a": array([1.0, -2.0]), "b": (array(0.5), None)},
                [array([[0.25, 1.5]]), {"c": array([3.0])}],
                array([0.1, 0.2, -0.3]),
            ]
        )
    )
    kind = draw(st.sampled_from(["square", "exp", "log", "falling"]))

    def fun(nest):
        total = 0.0
        for leaf in optree.tree_leaves(nest):
            if kind == "square":
                total = total + xp.sum((leaf - 0.5) ** 2)
            elif kind == "exp":
                total = total + xp.sum(xp.exp(leaf) - leaf)
            elif kind == "log":
                total = total + xp.sum(leaf - xp.log(leaf + 3.0))
            else:
                total = total - xp.sum(leaf)
        return total

    method = draw(st.sampled_from(list(SCIPY_METHODS)))
    named = {"method": method, "options": {"maxfun": draw(st.integers(1, 12))}, "compile": False}
    if SCIPY_METHODS[method].get("bounds") and draw(st.booleans()):
        named["bounds"] = draw(st.sampled_from([(-4, 4), (None, 5.0), (-2.5, None)]))
    if draw(st.booleans()):
        named["callback"] = Callback(draw(st.sampled_from(["look", "stop", "raise"])), 2).by_x
    return fun, x0, named


@pytest.mark.parametrize("name", [name for name in USABLE if name != "numpy"])
def test_calls_in_a_framework_end_likewise(name):
    host = get_backend(name)

    @settings(max_examples=60, derandomize=True, **QUIET)
    @given(framework_calls(name))
    def check(call):
        fun, x0, named = call
        before = [host.to_numpy(leaf).copy() for leaf in optree.tree_leaves(x0)]
        with warnings.catch_warnings(), watchdog():
            warnings.simplefilter("ignore")
            try:
                result = minimize(fun, x0, **named)
            except (DminError, Mishap):
                result = None
        after = [host.to_numpy(leaf) for leaf in optree.tree_leaves(x0)]
        assert all((old == new).all() for old, new in zip(before, after, strict=True))
        if result is None:
            return
        assert math.isfinite(result.fun)
        assert result.nfev <= named["options"]["maxfun"]
        found = optree.tree_leaves(result.x)
        assert [(type(leaf), leaf.dtype) for leaf in found] == [(type(v), v.dtype) for v in optree.tree_leaves(x0)]
        assert all(np.isfinite(host.to_numpy(leaf)).all() for leaf in found)
        assert abs(float(host.to_numpy(fun(result.x))) - result.fun) <= 1e-5 * (1 + abs(result.fun))

    check()


@pytest.mark.soak
@pytest.mark.parametrize("number", range(20))
def test_many_more_calls(number):
    @seed(number)
    @settings(max_examples=2000, **QUIET)
    @given(st.one_of(calls(), wrong_calls()))
    def check(call):
        check_outcome(*call)

    check()
