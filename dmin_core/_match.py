"""Matching another nest against x0's: a gradient leaf for leaf, bounds as a prefix; and saying where they part.

optree does the first in C++ and the usual case goes there; its messages speak of tree structures, though, not of
the user's path. This walk is slower, says ``x0['b'] has no counterpart``, and allows what does no harm: a tuple for a
list (``torch.autograd.grad`` returns one), and the absence of what is not optimised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import optree

from ._leaves import NAMESPACE, class_of, flatten, is_array


class Mismatch(ValueError):
    """Two nests part; the message says where."""


def match(nest: Any, other: Any, root: str = "x0", spreads: Callable[[Any], bool] | None = None) -> list[Any]:
    """What ``other`` holds for each leaf of ``nest``, static leaves too, in order.

    Parameters
    ----------
    nest : nest
    other : nest
        Of the same structure; or one that ends above the leaves, where ``spreads`` lets it.
    root : str
        What to call ``nest`` in messages.
    spreads : callable, optional
        Whether a node of ``other`` stands for everything below.

    Raises
    ------
    Mismatch
    """
    flatten(nest)  # makes its dataclasses known
    flatten(other)
    return list(_walk(nest, other, root, spreads or (lambda node: False)))


def _walk(nest: Any, other: Any, path: str, spreads: Callable[[Any], bool]) -> Iterator[Any]:
    own = children(nest)
    if own is None:
        yield other
        return
    if spreads(other):
        yield from [other] * len(flatten(nest)[0])
        return
    others = children(other)
    if others is None or kind(nest) != kind(other):
        left = flatten(nest)[0]
        if not any(map(_counts, left)):
            yield from [None] * len(left)
            return
        raise Mismatch(f"{path} is a {_named(nest)}, its counterpart a {_named(other)}")
    for key, (step, child) in own.items():
        if key in others:
            yield from _walk(child, others[key][1], path + step, spreads)
            continue
        left = flatten(child)[0]
        if any(map(_counts, left)):
            raise Mismatch(f"{path + step} has no counterpart")
        yield from [None] * len(left)
    extra = [step for key, (step, _) in others.items() if key not in own]
    if extra:
        raise Mismatch(f"there is no {path + extra[0]}")


def _counts(leaf: Any) -> bool:
    """Whether something must be said of a leaf."""
    return is_array(leaf) or isinstance(leaf, float)


def children(node: Any) -> dict[Any, tuple[str, Any]] | None:
    """Children by key, with the step of the path that leads to each; None for a leaf."""
    children, spec = optree.tree_flatten(node, lambda n: n is not node, none_is_leaf=True, namespace=NAMESPACE)
    if spec.is_leaf():
        return None
    steps = [accessor.codify("") for accessor in spec.accessors()]
    return dict(zip(spec.entries(), zip(steps, children, strict=True), strict=True))


def kind(node: Any) -> type:
    """What a node is as far as matching is concerned: the mappings are one kind, and so are lists and tuples."""
    if isinstance(node, Mapping):
        return dict
    return tuple if type(node) is list else type(node)


def _named(node: Any) -> str:
    return class_of(node) if is_array(node) else type(node).__qualname__
