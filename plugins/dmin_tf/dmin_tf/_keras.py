"""A Keras 3 model, or layer, as x0: its trainable variables are the variables of the run.

`fun` is called with the model itself inside a `keras.StatelessScope`, in which its variables have the pieces of the
flat tensor for values; what the model assigns to variables meanwhile (moving averages, the seeds of dropout) is dropped
with the scope, so that `fun` is the same function at every evaluation. Variables that are not trained are read as they
are, by a compiled `fun` too, each time.

Keras is the user's: it is looked at only where the program has imported it.
"""

from __future__ import annotations

import collections
import sys
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import tensorflow as tf

from dmin_core import InputError


class Model:
    """`dmin_core._models.Model` of a Keras model, which it does not keep alive: what is compiled keeps this."""

    def __init__(self, keras: Any, model: Any) -> None:
        self.keras = keras
        self.model = weakref.ref(model)
        self.key: Hashable = self.model
        self.inputs: tuple[Any, ...] = ()
        self.names = [variable.path for variable in model.trainable_variables]
        self.paths = [f"[{name!r}]" for name in self.names]

    @property
    def variables(self) -> list[Any]:
        return list(self.model().trainable_variables)  # type: ignore[union-attr] # it is alive while anybody calls

    def read(self) -> list[tf.Tensor]:
        return [tf.identity(tf.convert_to_tensor(variable)) for variable in self.variables]

    def write(self, arrays: Sequence[tf.Tensor]) -> None:
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)

    def call(self, function: Callable[..., Any], arrays: Sequence[tf.Tensor], *args: Any) -> Any:
        mapping = list(zip(self.variables, arrays, strict=True))
        # With its losses, so that `fun` may add what regularisers and layers note down in `model.losses`.
        with self.keras.StatelessScope(mapping, collect_losses=True, initialize_variables=False):
            return function(self.model(), *args)


def adopt_model(x0: Any) -> Model | None:
    """Take over a Keras 3 model or layer; None for whatever is none.

    Raises
    ------
    InputError
        It has no trainable variable, or two of one name.
    """
    keras = sys.modules.get("keras")
    # The two are not there in Keras 2, nor while Keras is being imported.
    layer, scope = getattr(getattr(keras, "layers", None), "Layer", None), getattr(keras, "StatelessScope", None)
    if keras is None or layer is None or scope is None or not isinstance(x0, layer):
        return None
    if keras.backend.backend() != "tensorflow":
        raise InputError(
            f"x0 is a Keras model over {keras.backend.backend()}; dmin takes those over TensorFlow. "
            f"Set KERAS_BACKEND=tensorflow before Keras is imported."
        )
    model = Model(keras, x0)
    if not model.names:
        raise InputError(
            f"x0 is a {type(x0).__qualname__} without trainable variables, so there is nothing to optimise. Call it "
            f"once, or its build(), so that it has some, and see that `trainable` is True."
        )
    name, count = collections.Counter(model.names).most_common(1)[0]
    if count > 1:
        raise InputError(f"x0 has {count} variables of the path {name!r}; give its layers different names.")
    return model
