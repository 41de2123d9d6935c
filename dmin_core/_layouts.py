"""How constraints nest what they return, as words for a checkpoint.

A process that goes on is given the constraints' values from the file, and does not call them; how these numbers were
nested it would see only in a call. So that is written down too, as JSON in words of eight bytes, where the nest is one
of dicts, lists and tuples. Other containers are the user's own classes, which to name and import from a file is what
pickle does; for those the constraint is called once more.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._constraints import Outputs
from ._leaves import dtype_name, flatten
from ._tree import Tree

NO_WORDS = np.empty(0)


class Unwritable(Exception):
    """A container that is none of ours."""


def write_layout(outputs: Sequence[Outputs]) -> np.ndarray:
    """Layouts as float64 words; none where one of them cannot be written."""
    try:
        described = [
            [
                _described(each.spec.unflatten(range(len(each.shapes)))),
                each.shapes,
                [dtype_name(d) for d in each.dtypes],
            ]
            for each in outputs
        ]
    except Unwritable:
        return NO_WORDS
    text = json.dumps(described).encode()
    return np.frombuffer(text + b" " * (-len(text) % 8), dtype=float)


def read_layout(words: np.ndarray, wheres: Sequence[str], tree: Tree) -> tuple[Outputs, ...] | None:
    """The layouts, of constraints of these names; None where there are none, or of a dtype that no leaf has."""
    if not words.size:
        return None
    dtypes = {dtype_name(dtype): dtype for dtype in (*tree.dtypes, tree.prototype.dtype)}
    found = []
    for where, (node, shapes, names) in zip(wheres, json.loads(words.tobytes()), strict=True):
        places, spec = flatten(_nest(node))
        if places != list(range(len(shapes))) or not dtypes.keys() >= set(names):
            return None
        found.append(Outputs(where, spec, [tuple(shape) for shape in shapes], [dtypes[name] for name in names]))
    return tuple(found)


def _described(node: Any) -> Any:
    if type(node) is int:
        return node
    if type(node) is dict and all(type(key) in (str, int) for key in node):
        return {"dict": [[key, _described(value)] for key, value in node.items()]}
    if type(node) in (list, tuple):
        return {type(node).__name__: [_described(value) for value in node]}
    raise Unwritable


def _nest(node: Any) -> Any:
    if isinstance(node, int):
        return node
    ((kind, parts),) = node.items()
    if kind == "dict":
        return {key: _nest(value) for key, value in parts}
    return (list if kind == "list" else tuple)(_nest(value) for value in parts)
