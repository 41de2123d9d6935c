"""Leaves that `minimize` is told to leave alone: ``frozen=``.

Said like bounds are: by a prefix of x0's nest, whose parts are booleans, or by name (`_globs`). A dictionary is both,
and nothing has to be told apart: its keys are names, its values booleans or what stands for a part of x0, and what it
does not name is free. A complete nest of booleans is but the longest such dictionary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import optree

from ._errors import InputError
from ._globs import Entry, Names, Part, is_names
from ._leaves import class_of, flatten, is_array
from ._match import children, kind

FORMS = (
    "frozen is a name or a glob over paths, several of them, a dict from name to bool, or a nest of bools like x0's "
    "that ends where it likes."
)


def find_frozen(frozen: Any, x0: Any, spec: optree.PyTreeSpec) -> frozenset[int]:
    """Which of x0's leaves are frozen.

    Parameters
    ----------
    frozen : Any
        As `minimize` got it.
    x0 : nest
    spec : optree.PyTreeSpec
        Its structure.

    Raises
    ------
    InputError
        The form or the nest is wrong, or a name names nothing.
    """
    if frozen is None or frozen is False:
        return frozenset()
    names = Names(x0, spec, "frozen")
    marks = [False] * spec.num_leaves
    if is_names(frozen):
        for name in [frozen] if isinstance(frozen, str) else frozen:
            _set(marks, names.find(name), True)
    else:
        flatten(frozen)  # makes its dataclasses known
        _mark(marks, names.whole, frozen, names)
    return frozenset(i for i, mark in enumerate(marks) if mark)


def _set(marks: list[bool], where: Entry, mark: bool) -> None:
    for i in where.leaves:
        marks[i] = mark


def _mark(marks: list[bool], where: Entry, said: Any, names: Names) -> None:
    """Note what is said of the leaves that ``where`` names."""
    if isinstance(said, bool | np.bool_):
        _set(marks, where, bool(said))
    elif said is None:
        _set(marks, where, False)
    elif where.part is None or where.part.is_leaf:
        raise _no_bool(where.name, said)
    elif isinstance(said, Mapping):
        for entry in names.entries(said, where.part):
            _mark(marks, entry, entry.value, names)
    else:
        _mark_children(marks, where.part, said, names)


def _mark_children(marks: list[bool], part: Part, said: Any, names: Names) -> None:
    parts, below = part.children, children(said)
    if below is None:
        raise _no_bool(part.path, said)
    if kind(part.node) != kind(said) or list(parts) != list(below):
        raise InputError(
            f"frozen is not nested as x0 is: {part.path} is a {_named(part.node)} of {len(parts)}, its counterpart a "
            f"{_named(said)} of {len(below)}. {FORMS}"
        )
    for key, child in parts.items():
        _mark(marks, Entry(child.leaves, child.path, child), below[key][1], names)


def _no_bool(where: str, said: Any) -> InputError:
    if is_array(said):
        return InputError(
            f"frozen has a {class_of(said)} at {where}: a leaf is frozen as a whole. To hold some of its numbers, give "
            f"them equal bounds."
        )
    return InputError(f"frozen has {said!r} at {where}; expected True or False. {FORMS}")


def _named(node: Any) -> str:
    return type(node).__qualname__
