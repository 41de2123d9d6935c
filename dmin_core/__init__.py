"""dmin: one `minimize` for objectives written in PyTorch, TensorFlow, JAX, CuPy or NumPy.

>>> import numpy as np
>>> from dmin_core import minimize
>>> res = minimize(lambda p: np.sum((p["w"] - 1.0) ** 2), {"w": np.zeros(3)})
>>> res.x["w"].round(3)
array([1., 1., 1.])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

from ._errors import BackendUnavailableError as BackendUnavailableError
from ._errors import BrokenPluginError as BrokenPluginError
from ._errors import CheckpointError as CheckpointError
from ._errors import CurvatureError as CurvatureError
from ._errors import DerivativeError as DerivativeError
from ._errors import DminError as DminError
from ._errors import InputError as InputError
from ._errors import Interrupted as Interrupted
from ._errors import MethodError as MethodError
from ._errors import MissingBackendError as MissingBackendError
from ._errors import NotSupportedYet as NotSupportedYet
from ._errors import ObjectiveError as ObjectiveError
from ._errors import PluginClashError as PluginClashError
from ._errors import PluginError as PluginError
from ._errors import UnknownBackendError as UnknownBackendError
from ._leaves import array_namespace as array_namespace
from ._leaves import backend_of as backend_of
from ._minimize import minimize as minimize
from ._minimize import with_backend as with_backend
from ._plugins import Backend as Backend
from ._plugins import BackendInfo as BackendInfo
from ._plugins import backends as backends
from ._plugins import get_backend as get_backend
from .hookspecs import hookimpl as hookimpl
from .solvers import Method as Method
from .solvers import methods as methods

if TYPE_CHECKING:
    from scipy.optimize import Bounds as Bounds
    from scipy.optimize import NonlinearConstraint as NonlinearConstraint

    from ._checkpoint import Checkpoint as Checkpoint
    from ._linear import LinearConstraint as LinearConstraint
    from ._result import Result as Result

# Most of these need scipy.optimize, which takes four times as long to import as NumPy: fetched when first asked for.
_FROM_SCIPY = ("Bounds", "NonlinearConstraint")
_LATE = {"Checkpoint": "_checkpoint", "LinearConstraint": "_linear", "Result": "_result"}


def __getattr__(name: str) -> Any:
    if name in _FROM_SCIPY:
        import scipy.optimize

        return getattr(scipy.optimize, name)
    if name in _LATE:
        import importlib

        return getattr(importlib.import_module(f".{_LATE[name]}", __name__), name)
    raise AttributeError(f"module 'dmin_core' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FROM_SCIPY, *_LATE})
