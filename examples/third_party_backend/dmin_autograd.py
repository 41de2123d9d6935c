"""autograd for dmin: exact derivatives of objectives written with autograd.numpy."""

import warnings

import autograd.numpy
import numpy as np
from autograd.differential_operators import make_hvp

from dmin_core import hookimpl, with_backend

minimize = with_backend("autograd")


@hookimpl
def to_numpy(array):
    plain = np.asarray(array)
    return plain.astype(np.float32) if plain.dtype == np.float16 else plain


@hookimpl
def from_numpy(array, like):
    # A copy: `fun` may write into what it gets, and dmin may still need what it gave.
    return np.array(array, dtype=None if like is None else like.dtype)


@hookimpl
def device(array):
    return "cpu"


@hookimpl
def value_and_grad(fun):
    return autograd.value_and_grad(fun)  # by the first argument, which is the point


@hookimpl
def detach(array):
    return autograd.tracer.getval(array)


@hookimpl
def hvp(fun):
    make = make_hvp(fun)
    kept = [None, None]

    def product(point, vector, *args):
        # Solvers ask for many products at one point, and dmin then passes the same object.
        if kept[0] is not point:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Output seems independent")  # a linear function
                kept[:] = point, make(point, *args)[0]
        return kept[1](vector)

    return product


@hookimpl
def namespace(array):
    return autograd.numpy
